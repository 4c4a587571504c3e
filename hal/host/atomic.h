// Shared words of the modelled machine.
#pragma once

#include <atomic>
#include <cstdint>
#include <type_traits>

#include "hal/host/machine.h"

namespace shootdown::host {

/// A shared word. Every access is a visible operation and carries its memory order; in the
/// sequentially consistent mode, the only one so far, the order does not change what happens.
template <class T>
class HostAtomic {
 public:
  constexpr HostAtomic() = default;
  // Implicit, so that members can be initialised with a plain value as on every other HAL.
  constexpr HostAtomic(T value) : value_(value) {}  // NOLINT(google-explicit-constructor)
  HostAtomic(const HostAtomic&) = delete;
  HostAtomic& operator=(const HostAtomic&) = delete;

  T load(std::memory_order order, Site where = Site::current()) const {
    before(order);
    read("load", where);
    return value_;
  }

  /// Not a visible operation: the owner knows what it wrote last.
  [[nodiscard]] T owner_load() const { return value_; }

  void store(T value, std::memory_order order, Site where = Site::current()) {
    before(order);
    value_ = value;
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

  /// Strong. On failure `expected` becomes the value found.
  bool compare_exchange(T& expected, T desired, std::memory_order order,
                        Site where = Site::current()) {
    before(order);
    const bool same = value_ == expected;
    expected = value_;
    if (same) value_ = desired;
    wrote(OpClass::modify, same ? "compare-exchange" : "compare-exchange fails", where);
    return same;
  }

  /// For oracles and set-up: not a visible operation.
  [[nodiscard]] T peek() const { return value_; }
  void poke(T value) { value_ = value; }

 private:
  template <class Change>
  T modify(std::memory_order order, Site where, Change&& change) {
    before(order);
    const T old = value_;
    value_ = change(old);
    read_by(where);
    wrote(OpClass::modify, "modify", where);
    return old;
  }

  static void before(std::memory_order /*order*/) { current_machine->visible(); }

  [[nodiscard]] std::uint64_t bits() const {
    if constexpr (std::is_pointer_v<T>) {
      return value_ != nullptr;  // Addresses differ from run to run; hashes must not.
    } else {
      return static_cast<std::uint64_t>(value_);
    }
  }

  static std::uint32_t site_id(Site where) { return (where.line() * 61) + where.column(); }

  /// Feedback: this CPU reads at one place what another CPU wrote at another.
  void read_by(Site where) const {
    Machine& machine = *current_machine;
    const CpuId cpu = machine.running().id;
    if (writer_cpu_ != cpu && writer_cpu_ != kNobody) {
      machine.features().hit(((writer_site_ * 0x9e37U) ^ site_id(where)) * 0x85ebca6bU >> 7);
    }
  }

  void read(const char* verb, Site where) const {
    Machine& machine = *current_machine;
    read_by(where);
    machine.note(OpClass::load, bits());
    if (machine.recording()) [[unlikely]] {
      machine.record_access(verb, this, bits(), where);
    }
  }

  void wrote(OpClass op, const char* verb, Site where) {
    Machine& machine = *current_machine;
    writer_cpu_ = static_cast<std::uint8_t>(machine.running().id);
    writer_site_ = site_id(where);
    machine.note(op, bits());
    if (machine.recording()) [[unlikely]] {
      machine.record_access(verb, this, bits(), where);
    }
    machine.changed();
  }

  static constexpr std::uint8_t kNobody = 255;

  T value_{};
  std::uint32_t writer_site_{0};
  std::uint8_t writer_cpu_{kNobody};
};

}  // namespace shootdown::host
