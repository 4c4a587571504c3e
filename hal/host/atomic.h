// Shared words of the modelled machine.
#pragma once

#include <atomic>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "hal/host/machine.h"
#include "hal/host/race_detector.h"

namespace shootdown::host {

/// A shared word. Every access is a visible operation. Loads and stores are what x86 makes of them:
/// a store may stay in its CPU's store buffer, see shared_memory.h; a read-modify-write,
/// and a store that is sequentially consistent, is a locked instruction. The memory orders matter
/// under `Memory::compiler_reordering`, see cxx_memory.h.
template <class T>
class HostAtomic {
 public:
  constexpr HostAtomic() = default;
  // Implicit, so that members can be initialised with a plain value as on every other HAL.
  constexpr HostAtomic(T value) : value_(value) {}  // NOLINT(google-explicit-constructor)
  HostAtomic(const HostAtomic&) = delete;
  HostAtomic& operator=(const HostAtomic&) = delete;

  T load(std::memory_order order, Site where = Site::current()) const {
    const ModelScope scope;
    before_load();
    order_.load(order);
    if (current_machine->memory().loads_specially()) [[unlikely]] {
      return current_machine->memory().reorders() ? load_reordered(order, where)
                                                  : load_weakly(where);
    }
    const T value = seen_by(current_machine->running());
    if (current_machine->controlled().is_on()) [[unlikely]] {
      look(value);
    }
    read("load", value, where);
    return value;
  }

  /// Not a visible operation: the owner knows what it wrote last. But an interrupt of the owner
  /// does not wait for one.
  [[nodiscard]] T owner_load() const {
    const ModelScope scope;
    current_machine->scheduler().own_access();
    return seen_by(current_machine->running());
  }

  void store(T value, std::memory_order order, Site where = Site::current()) {
    const ModelScope scope;
    Machine& machine = *current_machine;
    if (order == std::memory_order_seq_cst && machine.memory().buffers_stores()) [[unlikely]] {
      return store_locked(value, where);
    }
    before(order);
    order_.store(order);
    if (machine.memory().buffers_stores()) [[unlikely]] {
      machine.record_access(stored(machine.running().id, machine.running().stores_buffered), true);
      machine.memory().buffer_store(machine.running(),
                                    {.word = this,
                                     .bits = raw(value),
                                     .commit = &HostAtomic::commit,
                                     .note = site_id(where),
                                     .cpu = static_cast<std::uint8_t>(machine.running().id)},
                                    order);
      told(OpClass::store, "store, buffered,", value, where);
      return;
    }
    value_ = value;
    machine.record_access(this, true);
    wrote(OpClass::store, "store", where);
  }

  T exchange(T value, std::memory_order order, Site where = Site::current()) {
    return modify(order, where, [&](T) { return value; });
  }
  T fetch_add(T value, std::memory_order order, Site where = Site::current()) {
    return modify(order, where, [&](T old) { return static_cast<T>(old + value); });
  }
  T fetch_or(T value, std::memory_order order, Site where = Site::current()) {
    return modify(order, where, [&](T old) { return static_cast<T>(old | value); });
  }
  T fetch_and(T value, std::memory_order order, Site where = Site::current()) {
    return modify(order, where, [&](T old) { return static_cast<T>(old & value); });
  }

  /// A locked instruction that the HAL does not have: `change(old)` is the new value.
  template <class Change>
  T update(Change&& change, std::memory_order order, Site where = Site::current()) {
    return modify(order, where, change);
  }

  /// Strong. On failure `expected` becomes the value found.
  bool compare_exchange(T& expected, T desired, std::memory_order order,
                        Site where = Site::current()) {
    const ModelScope scope;
    before_locked(order);
    if (current_machine->memory().weak_ipi()) [[unlikely]] {
      const T before = before_late_store();
      if (before != value_ && (before != expected || before == desired)) {
        const bool matched = before == expected;
        expected = before;
        if (!matched && current_machine->controlled().is_on()) look(expected);
        came_before(before, where);
        return matched;
      }
    }
    const bool same = value_ == expected;
    same ? order_.modify(order) : order_.fail_to_modify(order);
    expected = value_;
    if (same) value_ = desired;
    modified(expected, order);
    if (current_machine->controlled().is_on()) [[unlikely]] {
      current_machine->record_access(this, same);
      if (!same) look(expected);
    }
    wrote(OpClass::modify, same ? "compare-exchange" : "compare-exchange fails", where);
    may_be_late(expected);
    return same;
  }

  /// For oracles and set-up: not a visible operation. What memory holds, and what a CPU would read.
  [[nodiscard]] T peek() const { return value_; }
  [[nodiscard]] T seen_by(const HostCpu& cpu) const {
    if (cpu.stores.empty()) [[likely]] {
      return value_;
    }
    const BufferedStore* newest = cpu.stores.find(this);
    return newest == nullptr ? value_ : from_raw(newest->bits);
  }
  void poke(T value) {
    value_ = value;
    if (current_machine != nullptr && current_machine->memory().reorders()) [[unlikely]] {
      current_machine->memory().compiler_reordering().forget(this);
    }
  }

 private:
  template <class Change>
  T modify(std::memory_order order, Site where, Change&& change) {
    const ModelScope scope;
    before_locked(order);
    order_.modify(order);
    if (current_machine->memory().weak_ipi()) [[unlikely]] {
      const T before = before_late_store();
      if (before != value_ && change(before) == before) {
        came_before(before, where);
        return before;
      }
    }
    const T old = value_;
    value_ = change(old);
    modified(old, order);
    current_machine->record_access(this, true);
    read_by(where);
    wrote(OpClass::modify, "modify", where);
    may_be_late(old);
    return old;
  }

  static void before(std::memory_order /*order*/) { current_machine->scheduler().visible(); }
  void before_load() const {
    Machine& machine = *current_machine;
    const bool may_be_stale = machine.controlled().is_on() && machine.memory().reorders();
    if (may_be_stale) [[unlikely]] {
      machine.running().loads = this;
    }
    machine.scheduler().visible();
    if (may_be_stale) [[unlikely]] {
      machine.running().loads = nullptr;
    }
  }
  /// A locked instruction waits for the stores before it, wherever a compiler has put them.
  void before_locked(std::memory_order order) {
    Machine& machine = *current_machine;
    // What a compiler may put older stores behind waits for less, and sees to it by itself.
    const bool waits = !machine.memory().reorders() || releases(order);
    machine.scheduler().visible(waits ? Pending::drained : Pending::plain);
    if (machine.memory().reorders()) [[unlikely]] {
      machine.memory().drain_before_modify(machine.running(), this, order);
    } else {
      machine.memory().serialise(machine.running());
    }
  }

  /// What a CPU finds that comes before a late store, see `Hardware::weak_ipi`; else what is there.
  T before_late_store() const {
    const std::uint64_t* before = current_machine->memory().before_late_store(this);
    return before == nullptr ? value_ : from_raw(*before);
  }
  /// What a load of the CPU finds, which does not see the late store of another CPU.
  T found_by(const HostCpu& cpu) const {
    const bool may_miss_one =
        !current_machine->memory().has_late_store(cpu) && cpu.stores.find(this) == nullptr;
    return may_miss_one ? before_late_store() : seen_by(cpu);
  }
  /// A read-modify-write that changes nothing came before a late store.
  void came_before(T value, Site where) {
    Machine& machine = *current_machine;
    machine.record_access(this, true);
    told(OpClass::modify, "modify, before a late store,", value, where);
    machine.changed();
  }
  /// The running CPU has changed the word from `old`.
  void may_be_late(T old) {
    SharedMemory& memory = current_machine->memory();
    if (!memory.weak_ipi()) [[likely]] {
      return;
    }
    if (memory.before_late_store(this) != nullptr) memory.end_late_store();
    if (value_ != old) memory.begin_late_store(current_machine->running(), this, raw(old));
  }

  T load_weakly(Site where) const {
    Machine& machine = *current_machine;
    HostCpu& self = machine.running();
    machine.memory().complete_fence(self);
    const T value = found_by(self);
    if (machine.controlled().is_on()) look(value);
    read("load", value, where);
    return value;
  }
  T load_reordered(std::memory_order order, Site where) const {
    Machine& machine = *current_machine;
    const HostCpu& self = machine.running();
    const BufferedStore* own = self.stores.find(this);
    const T value = from_raw(own != nullptr ? own->bits
                                            : machine.memory().compiler_reordering().load(
                                                  self.id, this, raw(value_), order));
    const bool stale = own == nullptr && machine.memory().compiler_reordering().was_stale();
    if (stale) machine.scheduler().looks_again();
    if (machine.controlled().is_on()) look(value);
    read(stale ? "load, stale," : "load", value, where);
    return value;
  }
  /// A store that nothing may overtake is an exchange.
  void store_locked(T value, Site where) {
    before_locked(std::memory_order_seq_cst);
    order_.modify(std::memory_order_seq_cst);
    const T old = std::exchange(value_, value);
    current_machine->record_access(this, true);
    modified(old, std::memory_order_seq_cst);
    wrote(OpClass::modify, "store, locked,", where);
  }
  void modified(T old, std::memory_order order) {
    Machine& machine = *current_machine;
    if (machine.memory().reorders()) [[unlikely]] {
      machine.memory().compiler_reordering().modify(machine.running().id, this, raw(old),
                                                    raw(value_), order);
    }
  }

  static std::uint64_t raw(T value) {
    if constexpr (std::is_pointer_v<T>) {
      return reinterpret_cast<std::uintptr_t>(value);
    } else {
      return static_cast<std::uint64_t>(value);
    }
  }
  static T from_raw(std::uint64_t bits) {
    if constexpr (std::is_pointer_v<T>) {
      return reinterpret_cast<T>(static_cast<std::uintptr_t>(bits));
    } else {
      return static_cast<T>(bits);
    }
  }
  /// For hashes and timelines: addresses differ from run to run.
  static std::uint64_t shown(T value) {
    if constexpr (std::is_pointer_v<T>) {
      return value != nullptr;
    } else {
      return static_cast<std::uint64_t>(value);
    }
  }

  static void commit(const BufferedStore& store) {
    auto& word = *static_cast<HostAtomic*>(store.word);
    Machine& machine = *current_machine;
    if (machine.memory().reorders()) [[unlikely]] {
      machine.memory().compiler_reordering().commit(store.cpu, &word, raw(word.value_), store.bits);
    }
    word.value_ = from_raw(store.bits);
    word.writer_cpu_ = store.cpu;
    word.writer_site_ = store.note;
    machine.record_access(&word, true);
    machine.note(OpClass::drain, shown(word.value_));
    if (machine.recorder().has_timeline()) [[unlikely]] {
      machine.recorder().drained(store.cpu, &word, shown(word.value_), raw(word.value_));
    }
  }

  /// Under a controller: the running CPU has read `value`, from memory or its own store buffer.
  void look(T value) const {
    Machine& machine = *current_machine;
    HostCpu& cpu = machine.running();
    const BufferedStore* own = cpu.stores.find(this);
    if (own != nullptr) {
      machine.record_access(stored(cpu.id, own->number), false);
    } else {
      machine.record_access(this, false);
    }
    cpu.looks.push_back({.word = this, .read = &HostAtomic::bits_seen, .bits = raw(value)});
  }
  static std::uint64_t bits_seen(const void* word, const HostCpu& cpu) {
    return raw(static_cast<const HostAtomic*>(word)->found_by(cpu));
  }

  static std::uint32_t site_id(Site where) { return (where.line() * 61) + where.column(); }

  /// Feedback: this CPU reads at one place what another CPU wrote at another.
  void read_by(Site where) const {
    Machine& machine = *current_machine;
    const CpuId cpu = machine.running().id;
    if (writer_cpu_ != cpu && writer_cpu_ != kNobody) {
      machine.recorder().features().hit(((writer_site_ * 0x9e37U) ^ site_id(where)) * 0x85ebca6bU >>
                                        7);
    }
  }

  void read(const char* verb, T value, Site where) const {
    read_by(where);
    told(OpClass::load, verb, value, where);
  }
  void told(OpClass op, const char* verb, T value, Site where) const {
    Machine& machine = *current_machine;
    machine.note_briefly(op, shown(value), this);
    if (machine.is_listened_to()) [[unlikely]] {
      tell(op, verb, value, where);
    }
  }
  /// For a controller and for the timeline. Out of line, so that the way without them saves no
  /// registers.
  [[gnu::noinline]] void tell(OpClass op, const char* verb, T value, Site where) const {
    Machine& machine = *current_machine;
    if (machine.controlled().is_on()) machine.controlled().note(op, shown(value));
    if (machine.recorder().has_timeline()) {
      machine.recorder().operation(verb, this, shown(value), raw(value), where);
    }
  }

  void wrote(OpClass op, const char* verb, Site where) {
    Machine& machine = *current_machine;
    writer_cpu_ = static_cast<std::uint8_t>(machine.running().id);
    writer_site_ = site_id(where);
    told(op, verb, value_, where);
    current_machine->changed();
  }

  static constexpr std::uint8_t kNobody = 255;

  T value_{};
  /// For race detectors. A store that waits in a store buffer counts from the store on: too early,
  /// which hides races and invents none.
  [[no_unique_address]] AccessOrder order_;
  std::uint32_t writer_site_{0};
  std::uint8_t writer_cpu_{kNobody};
};

}  // namespace shootdown::host
