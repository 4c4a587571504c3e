// A HAL for one thread that writes every operation down, in order, with its memory order. CPUs are
// numbers: a test says which one it is, and a pause delivers the interrupts that are pending.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <initializer_list>
#include <map>
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/shootdown_all.h"

namespace shootdown::test {

struct Entry {
  CpuId cpu;
  std::string what;  // "add mm.tlb_gen", "send interrupt", "invlpg"
  std::uint64_t value;
  std::memory_order order;
};

/// Thrown by `fail`, which must not return.
struct CheckFailed {
  Failure failure;
};

/// The name of a trace event in labels, such as "trace flush_end".
constexpr const char* trace_name(TraceKind kind) {
  switch (kind) {
    case TraceKind::flush_asked:
      return "flush_asked";
    case TraceKind::flush_begin:
      return "flush_begin";
    case TraceKind::flush_send:
      return "flush_send";
    case TraceKind::flush_end:
      return "flush_end";
    case TraceKind::kernel_begin:
      return "kernel_begin";
    case TraceKind::kernel_end:
      return "kernel_end";
    case TraceKind::batch_add:
      return "batch_add";
    case TraceKind::batch_begin:
      return "batch_begin";
    case TraceKind::batch_end:
      return "batch_end";
    case TraceKind::handler_begin:
      return "handler_begin";
    case TraceKind::handler_end:
      return "handler_end";
    case TraceKind::switch_begin:
      return "switch_begin";
    case TraceKind::switch_end:
      return "switch_end";
    case TraceKind::enter_lazy:
      return "enter_lazy";
    case TraceKind::call_queued:
      return "call_queued";
    case TraceKind::call_run:
      return "call_run";
    case TraceKind::flush_broadcast:
      return "flush_broadcast";
    case TraceKind::asid_granted:
      return "asid_granted";
    case TraceKind::asid_returned:
      return "asid_returned";
    case TraceKind::vcpu_skipped:
      return "vcpu_skipped";
    case TraceKind::flush_done:
      return "flush_done";
    case TraceKind::walkers_begin:
      return "walkers_begin";
  }
  return nullptr;
}

inline constexpr std::array kInvpcidNames{"address", "context", "everything", "all contexts"};
inline constexpr std::array kInvlpgbNames{"pages", "kernel pages", "context", "all contexts",
                                          "everything"};

static_assert(kInvpcidNames.size() == static_cast<std::size_t>(InvpcidType::all_contexts) + 1);
static_assert(kInvlpgbNames.size() == static_cast<std::size_t>(InvlpgbScope::everything) + 1);

/// The verbs of accesses. A label of an access is a verb and the word's name: "add mm.tlb_gen".
inline constexpr std::array kVerbs{"load", "store", "exchange", "add", "or", "and", "push"};

/// Everything that happened since the last `clear`.
struct Recorder {
  std::vector<Entry> log;
  std::vector<TraceEvent> events;
  std::vector<Unanswered> unanswered;
  std::map<const void*, std::string> names;
  /// Runs before the operation takes effect.
  std::function<void(const Entry&)> before;
  /// Runs before an owner's load, which is not logged.
  std::function<void()> before_own_load;
  CpuId current{0};

  /// A label that is no access. It must be listed.
  void note(std::string what, std::uint64_t value = 0) {
    if (!operations.contains(what)) {
      std::fprintf(stderr, "the HAL notes \"%s\", which it has not listed\n", what.c_str());
      std::abort();
    }
    append(std::move(what), value, std::memory_order_relaxed);
  }
  void note_access(const char* verb, const void* word, std::uint64_t value,
                   std::memory_order order) {
    const auto name = names.find(word);
    append(std::string(verb) + " " + (name != names.end() ? name->second : "word"), value, order);
  }
  /// Lists labels of a HAL that can do more.
  void list(std::initializer_list<const char*> more) {
    operations.insert(more.begin(), more.end());
  }
  /// Whether the log can ever have an entry with this label.
  [[nodiscard]] bool can_note(const std::string& what) const {
    if (operations.contains(what)) return true;
    const std::size_t mm = what.find(' ');
    if (mm == std::string::npos) return false;
    const std::string word = what.substr(mm + 1);
    return std::find(kVerbs.begin(), kVerbs.end(), what.substr(0, mm)) != kVerbs.end() &&
           std::any_of(names.begin(), names.end(),
                       [&](const auto& name) { return name.second == word; });
  }
  /// Every label that the log can have an entry with.
  [[nodiscard]] std::vector<std::string> labels() const {
    std::set<std::string> all = operations;
    for (const auto& [address, name] : names) {
      for (const char* verb : kVerbs) all.insert(std::string(verb) + " " + name);
    }
    return {all.begin(), all.end()};
  }
  void clear() {
    log.clear();
    events.clear();
    unanswered.clear();
  }

  /// What a HAL writes down besides accesses to words.
  std::set<std::string> operations{own_operations()};

 private:
  void append(std::string what, std::uint64_t value, std::memory_order order) {
    log.push_back({.cpu = current, .what = std::move(what), .value = value, .order = order});
    if (before) before(Entry(log.back()));  // A copy: the hook may add to the log.
  }
  /// What `RecordingHal` writes down. A HAL above it lists more.
  static std::set<std::string> own_operations() {
    std::set<std::string> all{"fence",          "interrupts off", "interrupts on", "write CR3",
                              "write CR4",      "invlpg",         "tlbsync",       "order stores",
                              "send interrupt", "pause"};
    for (const char* type : kInvpcidNames) all.insert(std::string("invpcid ") + type);
    for (const char* scope : kInvlpgbNames) all.insert(std::string("invlpgb ") + scope);
    for (unsigned kind = 0;
         const char* name = trace_name(TraceKind{static_cast<std::uint8_t>(kind)}); ++kind) {
      all.insert(std::string("trace ") + name);
    }
    return all;
  }
};

inline Recorder recorder;

template <class T>
class RecordedWord {
 public:
  constexpr RecordedWord() = default;
  // Implicit, as on every HAL, so that members can have plain initial values.
  constexpr RecordedWord(T value) : value_(value) {}  // NOLINT(google-explicit-constructor)
  RecordedWord(const RecordedWord&) = delete;
  RecordedWord& operator=(const RecordedWord&) = delete;

  T load(std::memory_order order) const {
    recorder.note_access("load", this, bits(value_), order);
    return value_;
  }
  /// Not logged: the owner reads what it wrote last.
  [[nodiscard]] T owner_load() const {
    if (recorder.before_own_load) recorder.before_own_load();
    return value_;
  }
  void store(T value, std::memory_order order) {
    recorder.note_access("store", this, bits(value), order);
    value_ = value;
  }
  T exchange(T value, std::memory_order order) {
    recorder.note_access("exchange", this, bits(value), order);
    return std::exchange(value_, value);
  }
  T fetch_add(T value, std::memory_order order) {
    recorder.note_access("add", this, bits(value), order);
    return std::exchange(value_, static_cast<T>(value_ + value));
  }
  T fetch_or(T value, std::memory_order order) {
    recorder.note_access("or", this, bits(value), order);
    return std::exchange(value_, static_cast<T>(value_ | value));
  }
  T fetch_and(T value, std::memory_order order) {
    recorder.note_access("and", this, bits(value), order);
    return std::exchange(value_, static_cast<T>(value_ & value));
  }
  bool compare_exchange(T& expected, T desired, std::memory_order order) {
    recorder.note_access("push", this, bits(desired), order);
    const bool same = value_ == expected;
    expected = value_;
    if (same) value_ = desired;
    return same;
  }

  [[nodiscard]] T peek() const { return value_; }
  void poke(T value) { value_ = value; }

 private:
  static std::uint64_t bits(T value) {
    if constexpr (std::is_pointer_v<T>) {
      return reinterpret_cast<std::uintptr_t>(value);
    } else {
      return static_cast<std::uint64_t>(value);
    }
  }
  T value_{};
};

template <CpuId kCpus>
struct RecordingHal {
  static constexpr CpuId kMaxCpus = kCpus;
  static constexpr std::size_t kLongestLog = 10000;
  template <class T>
  using Atomic = RecordedWord<T>;

  struct Cpu {
    bool interrupts{true};
    bool in_interrupt{false};
    bool pending{false};
    int preemption_off{0};
    std::uint64_t cr3{0};
    std::uint64_t cr4{kCr4GlobalPages | kCr4Pcid};
  };
  static inline std::array<Cpu, kCpus> cpus{};
  static inline std::vector<Invlpgb> broadcasts{};
  /// The call-function interrupt's handler.
  static inline std::function<void()> handler;

  static void reset() {
    cpus = {};
    broadcasts.clear();
    handler = nullptr;
    recorder = {};
  }
  static Cpu& self() { return cpus[recorder.current]; }

  static void full_fence() { recorder.note("fence"); }
  static CpuId this_cpu() { return recorder.current; }
  static void disable_preemption() { ++self().preemption_off; }
  static void enable_preemption() { --self().preemption_off; }
  static bool interrupts_enabled() { return self().interrupts; }
  static void disable_interrupts() {
    recorder.note("interrupts off");
    self().interrupts = false;
  }
  static void enable_interrupts() {
    recorder.note("interrupts on");
    self().interrupts = true;
  }
  static bool in_interrupt() { return self().in_interrupt; }
  static void write_cr3(std::uint64_t value) {
    recorder.note("write CR3", value);
    self().cr3 = value & ~kCr3KeepEntries;
  }
  static std::uint64_t read_cr3() { return self().cr3; }
  static void invlpg(VirtAddr address) { recorder.note("invlpg", address); }
  static void invpcid(InvpcidType type, std::uint64_t pcid, VirtAddr address) {
    const bool by_address = type == InvpcidType::address;
    recorder.note(std::string("invpcid ") + kInvpcidNames[static_cast<unsigned>(type)],
                  by_address ? address | pcid : pcid);
  }
  static void write_cr4(std::uint64_t value) {
    recorder.note("write CR4", value);
    self().cr4 = value;
  }
  static std::uint64_t read_cr4() { return self().cr4; }
  static void invlpgb(const Invlpgb& what) {
    recorder.note(std::string("invlpgb ") + kInvlpgbNames[static_cast<unsigned>(what.scope)],
                  what.address | what.pcid);
    broadcasts.push_back(what);
  }
  static void tlbsync() { recorder.note("tlbsync"); }
  static void order_stores_before_ipi() { recorder.note("order stores"); }
  static void send_call_function_ipi(const CpuMask<kCpus>& targets) {
    recorder.note("send interrupt", targets.word(0));
    targets.for_each([](CpuId cpu) { cpus[cpu].pending = true; });
  }
  /// One tick for each thing written down.
  static std::uint64_t ticks() { return recorder.log.size(); }
  static void report_unanswered(const Unanswered& report) { recorder.unanswered.push_back(report); }
  static void pause() {
    recorder.note("pause");
    if (recorder.log.size() > kLongestLog) {
      fail({.rule = Rule::r12, .what = "a CPU waits for ever", .where = {}});
    }
    deliver();
  }
  static void trace(const TraceEvent& event) {
    recorder.events.push_back(event);
    recorder.note(std::string("trace ") + trace_name(event.kind), event.value);
  }
  [[noreturn]] static void fail(const Failure& failure) { throw CheckFailed{failure}; }

  /// Every CPU that may be interrupted and has an interrupt pending runs its handler.
  static void deliver() {
    const CpuId before = recorder.current;
    for (CpuId cpu = 0; cpu < kCpus; ++cpu) {
      if (!cpus[cpu].pending || !cpus[cpu].interrupts) continue;
      recorder.current = cpu;
      cpus[cpu].pending = false;
      cpus[cpu].interrupts = false;
      cpus[cpu].in_interrupt = true;
      if (handler) handler();
      cpus[cpu].in_interrupt = false;
      cpus[cpu].interrupts = true;
    }
    recorder.current = before;
  }
};

}  // namespace shootdown::test
