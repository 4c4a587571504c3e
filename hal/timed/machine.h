// A multiprocessor in modelled time: each CPU has a clock, and pays for what it does.
//
// CPUs are fibers in one thread. The CPU whose clock is furthest behind runs next, up to its next
// access to a line that other CPUs can use; so accesses happen in the order of the clocks, and a
// run is a function of its input. A line that moves is busy until it has arrived: a CPU that comes
// for it meanwhile waits its turn. README.md says what is priced and what is not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <queue>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/types.h"
#include "hal/host/fiber.h"
#include "hal/timed/accesses.h"
#include "hal/timed/directory.h"
#include "hal/timed/prices.h"

namespace shootdown::timed {

/// What a CPU spends time on.
enum class Cause : std::uint8_t {
  compute,  // instructions, and accesses that stay in the CPU's own cache
  line,     // a line comes from other CPUs' caches
  memory,   // a line comes from memory
  queue,    // the line is still busy with another CPU
  drain,    // a locked instruction or a fence waits for earlier stores
  locked,   // a locked instruction
  fence,
  pause,  // between two looks at a word that another CPU has to change
  clock,
  command,   // the interrupt controller takes a command
  delivery,  // the interrupt is on its way
  entry,     // the target enters its handler
  exit,
  invlpg,
  invpcid,
  cr3,
  cr4,
  invlpgb,
  tlbsync,  // with the wait for all CPUs
  kCount,
};
[[nodiscard]] std::string_view name_of(Cause cause);

/// An event of a CPU's log.
struct EventRef {
  CpuId cpu{kNoCpu};
  std::uint32_t index{0};
};

/// What a CPU did in a stretch of time. The events of a log are in order, without a gap but where
/// the CPU had nothing to do.
struct Event {
  Time start{0};
  Time end{0};
  Cause cause{Cause::compute};
  CpuId other{kNoCpu};        // the CPU whose cache the line comes from, if that is one
  const Line* line{nullptr};  // of `line`, `memory`, `queue` and `drain`
  /// What this came after on another CPU: of a line the last write to it, of a wait for a line the
  /// access that keeps it, of an entry the command.
  EventRef after{};
  /// Of a line: since when this CPU had done nothing but look again and again. Of an entry: when
  /// the interrupt arrived.
  Time since{kNever};
};

/// How often what happened while recording.
struct Tally {
  std::uint64_t line_moves;  // each was paid for
  std::uint64_t commands;
  std::uint64_t interrupts;
  std::uint64_t invalidations;
};

class Machine final : public AccessListener {
 public:
  using Code = void (*)(void* argument);

  /// `fetches_ahead`: as if each line that a loop over lines of one kind changes by locked
  /// instructions had been asked for some rounds before.
  Machine(const Prices& prices, CpuId cpus, std::size_t line_bytes, bool fetches_ahead = false);
  ~Machine() override;

  /// Runs `program` on CPU 0; the others wait for interrupts, whose handler is `interrupt`, and for
  /// jobs. Returns what went wrong, or nothing.
  std::string run(Code program, Code interrupt, void* argument);

  // For the program on CPU 0.

  /// Another CPU, which has nothing to do, begins with `job` at this CPU's time.
  void start(CpuId cpu, Code job);
  /// Returns when all other CPUs have nothing to do. All clocks are equal then.
  void settle();
  /// From here on logs are kept and moves of lines counted, or no longer.
  void start_recording();
  void stop_recording();

  // For the HAL: on the CPU that runs.

  void access(const void* address, std::size_t bytes, bool write) override;
  void block() override;
  /// A locked instruction takes its line as a store does; until its end no other CPU does anything.
  void begin_locked(const void* word);
  void end_locked() { is_locked_ = false; }
  void instruct(Cause cause);
  void pause();
  void add_target(CpuId target) { targets_.push_back(target); }
  /// Sends the interrupt to the targets that were added, in the cheapest way.
  void send_interrupts();
  void broadcast_invalidation();
  void await_broadcasts();
  [[nodiscard]] bool interrupts_enabled() const { return current().interrupts_on; }
  void disable_interrupts() { current().interrupts_on = false; }
  void enable_interrupts();
  [[nodiscard]] bool in_interrupt() const { return current().in_interrupt; }
  [[nodiscard]] CpuId this_cpu() const { return running_; }
  [[nodiscard]] Time now() const { return current().clock; }
  struct Registers {
    std::uint64_t cr3;
    std::uint64_t cr4;
  };
  [[nodiscard]] Registers& registers() { return cpus_[running_]->registers; }
  /// Ends the run.
  [[noreturn]] void fail(std::string_view what);

  // What was recorded.

  [[nodiscard]] Directory& directory() { return directory_; }
  [[nodiscard]] const std::vector<Event>& log(CpuId cpu) const { return cpus_[cpu]->log; }
  [[nodiscard]] const Tally& tally() const { return tally_; }
  /// How long a CPU has been in handlers.
  [[nodiscard]] Time handler_time(CpuId cpu) const { return cpus_[cpu]->handler_time; }
  [[nodiscard]] CpuId cpus() const { return static_cast<CpuId>(cpus_.size()); }

 private:
  struct Cpu {
    CpuId id{0};
    host::Fiber fiber{};
    Machine* machine{nullptr};
    Time clock{0};
    std::uint64_t turn{0};  // of its place among the CPUs that can run; others are out of date
    Code job{nullptr};
    bool is_parked{false};
    bool interrupts_on{false};
    bool in_interrupt{false};
    Time interrupt_at{kNever};
    EventRef interrupt_from{};
    Time computes_since{kNever};
    Time polls_since{kNever};       // with nothing but PAUSEs and loads
    const Line* polled{nullptr};    // what it has fetched since the last PAUSE
    const Line* loaded{nullptr};    // by the last load that had to wait for its line
    Time drained_at{0};             // the store buffer is empty then
    const Line* draining{nullptr};  // the line that its last store waits for
    Time broadcast_done{0};
    Time handler_time{0};
    unsigned idle_pauses{0};
    Registers registers{};
    std::vector<Event> log{};
  };
  /// A moment, and the access that ends then.
  struct Arrival {
    Time at{0};
    EventRef by{};
  };
  struct Traffic {
    Arrival free{};  // the line can move again
    EventRef writer{};
    /// Since the last write: when a group of CPUs got its first copy. By level and group.
    std::map<std::pair<std::size_t, CpuId>, Arrival> copies{};
  };
  /// What a line costs, and the nearest level from which it can come.
  struct Way {
    Time price;
    std::size_t level;
  };
  struct Place {
    Time time;
    std::uint64_t turn;
    CpuId cpu;
    bool operator>(const Place& other) const {
      return time != other.time ? time > other.time : turn > other.turn;
    }
  };

  [[nodiscard]] Cpu& current() { return *cpus_[running_]; }
  [[nodiscard]] const Cpu& current() const { return *cpus_[running_]; }

  static void run_cpu(void* cpu);
  void wait_for_work();
  void enqueue(Cpu& cpu, Time time);
  [[nodiscard]] bool others_before(Time time);
  void run_next();
  void give_way();
  void take_interrupts();

  void compute(Time price);
  void end_compute();
  EventRef spend(Event event, Time price);
  enum class Kind : std::uint8_t { load, store, locked };
  void access_as(const void* address, std::size_t bytes, Kind kind);
  void touch(std::uint64_t number, Line& line, Kind kind);
  void fetch(Line& line, bool write, Source source);
  void store_later(Line& line, Source source);
  void drain();
  EventRef last_event();
  void wait_for(const Arrival& arrival, const Line& line);
  void note_copy(Traffic& traffic, std::size_t nearest, EventRef by);
  [[nodiscard]] CpuId group_of(std::size_t level) const;
  [[nodiscard]] Way way_of(const Line& line, bool write, Source source) const;
  [[nodiscard]] Time farthest_hop() const;
  void command(std::size_t first, std::size_t end);

  const Prices& prices_;
  bool fetches_ahead_;
  Directory directory_;
  std::vector<std::unique_ptr<Cpu>> cpus_;
  std::vector<Traffic> traffic_;
  std::priority_queue<Place, std::vector<Place>, std::greater<>> ready_;
  std::vector<CpuId> targets_;
  std::vector<std::size_t> groups_;
  host::Fiber thread_;
  Code program_{nullptr};
  Code interrupt_{nullptr};
  void* argument_{nullptr};
  CpuId running_{0};
  std::uint64_t turns_{0};
  bool is_locked_{false};
  bool is_recording_{false};
  std::string failure_;
  Tally tally_{};
};

/// The one that runs.
[[nodiscard]] Machine& machine();

}  // namespace shootdown::timed
