// A litmus test on the modelled machine: its memory, its page tables, and its columns as programs.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hal/host/hal.h"
#include "hal/host/machine.h"
#include "litmus/alu.h"
#include "litmus/test.h"

namespace shootdown::host::litmus {

/// Owns the machine. Reused from execution to execution: a failed one abandons its fibers, so
/// nothing that runs on them owns memory.
class Bench final : private Observer {
 public:
  /// A CPU that jumps back more than `most_repeats` times stops there.
  Bench(const Test& test, unsigned most_repeats);
  ~Bench() override = default;

  /// Everything as the test's initial state says, and the CPUs about to start.
  void prepare(Setup setup);
  [[nodiscard]] Machine& machine() { return machine_; }
  /// After a run: whether some CPU was stopped in a loop, and the state is none of the test's.
  [[nodiscard]] bool cut() const { return cut_; }
  /// ... or whether a jump went another way than this order of the instructions is for.
  [[nodiscard]] bool took_other_path() const { return other_path_; }
  /// After a run that failed: the instruction that cannot be executed, if that was it.
  [[nodiscard]] const Instruction* gave_up_at() const { return gave_up_at_; }
  /// After a run: the terms' values.
  [[nodiscard]] State state();

 private:
  struct Thread {
    std::array<std::uint64_t, kVirtualRegisters> registers{};
    Flags flags;  // of the instruction that is executed
    std::array<Flags, kVirtualRegisters> all_flags{};
    const Instruction* at{nullptr};
  };
  /// Where an operand in memory is.
  struct Cell {
    bool is_entry{false};
    std::size_t index{0};  // of the location or entry
  };

  // Set-up; core_fixture.cc.
  void make_tables();
  std::uint64_t* walk_to(std::uint64_t address, std::uint32_t mm, unsigned level);
  std::uint64_t* word_of(const Entry& entry);
  std::uint32_t new_frame(FrameKind kind);
  [[nodiscard]] std::uint64_t to_machine(std::uint64_t entry) const;
  [[nodiscard]] std::uint64_t from_machine(std::uint64_t entry) const;
  [[nodiscard]] std::int64_t value_of(const Term& term);
  [[nodiscard]] static std::int64_t field_of(Field field, std::uint64_t entry);
  static void boot(void* self, CpuId cpu);
  static void program(void* self, CpuId cpu);
  template <Role kRole>
  static void handler(void* self, CpuId cpu);

  // Execution; execute.cc.
  void load_mm(std::uint32_t mm, bool keep);
  void execute(const Column& column, Thread& thread);
  void step(const Instruction& made, Thread& thread);
  void move(const Instruction& made, Thread& thread);
  void exchange(const Instruction& made, Thread& thread);
  void change(const Instruction& made, Thread& thread);
  void compare_exchange(const Instruction& made, Thread& thread);
  void invalidate(const Instruction& made, const Thread& thread);
  void broadcast(const Instruction& made, const Thread& thread);
  /// Whether the instruction raises #GP, and then does nothing else.
  [[nodiscard]] bool is_protected(const Instruction& made) const;

  // Memory as the columns see it; access.cc.
  [[nodiscard]] std::uint64_t address_of(const Operand& operand, const Thread& thread) const;
  Cell cell_of(const Operand& operand, const Thread& thread);
  /// Nothing: a page fault, which is counted.
  std::optional<std::uint64_t> read(const Operand& operand, std::uint8_t width,
                                    const Thread& thread,
                                    std::memory_order order = std::memory_order_relaxed);
  void write(const Operand& operand, std::uint8_t width, std::uint64_t value, Thread& thread,
             std::memory_order order = std::memory_order_relaxed);
  /// A locked read-modify-write: the old value, or nothing after a page fault.
  std::optional<std::uint64_t> modify(const Instruction& made, const Operand& destination,
                                      std::uint64_t source, Thread& thread);
  static std::uint64_t result_of(const Instruction& made, std::uint64_t old, std::uint64_t source,
                                 Thread& thread);
  std::uint64_t modify_word(HostAtomic<std::uint64_t>& word, const Instruction& made,
                            std::uint64_t source, Thread& thread);
  std::uint64_t modify_entry(std::size_t entry, const Instruction& made, std::uint64_t source,
                             Thread& thread);
  /// Gives up if the machine has no such entry: its walker would go astray.
  void demand_entry(std::size_t entry, std::uint64_t value, const Thread& thread);
  void demand_size(const Operand& operand, std::size_t location, std::uint8_t width,
                   const Thread& thread);
  static void set_register(Thread& thread, Register reg, std::uint8_t width, std::uint64_t value);
  /// Ends the run. Takes no string: the frames from here on are abandoned.
  [[noreturn]] void give_up(const char* why, std::uint64_t value, const Thread& thread);

  // Observer.
  void after_change(CpuId /*cpu*/) override {}
  void on_cr3(CpuId /*cpu*/) override {}
  void on_invalidate(CpuId /*cpu*/) override {}
  void on_fill(CpuId /*cpu*/, VirtAddr /*address*/, Provenance& /*from*/) override {}
  bool on_walk(CpuId /*cpu*/, std::uint32_t /*frame*/, std::uint32_t /*life*/) override {
    return true;
  }
  void on_use(CpuId /*cpu*/, VirtAddr /*address*/, const TlbEntry& /*entry*/,
              bool /*write*/) override {}
  void on_ipi(CpuId /*cpu*/, const HostCpuMask& /*targets*/) override {}
  void on_broadcast(CpuId /*cpu*/, const Invlpgb& /*what*/) override {}
  void on_broadcasts_done(CpuId /*cpu*/) override {}
  void on_trace(CpuId /*cpu*/, const TraceEvent& /*event*/) override {}
  std::string label(const void* address) override;

  const Test& test_;
  unsigned most_repeats_;
  bool cut_{false};
  bool other_path_{false};
  const Instruction* gave_up_at_{nullptr};
  Machine machine_;
  bool virtual_memory_{false};
  std::unique_ptr<HostAtomic<std::uint64_t>[]> words_;     // by location
  std::map<std::uint64_t, std::size_t> location_at_;       // by address
  std::vector<std::uint32_t> frame_of_;                    // by location; frames and tables
  std::vector<std::uint64_t*> entry_of_;                   // by entry
  std::array<std::uint32_t, 8> roots_{};                   // by address space
  std::vector<std::pair<std::uint64_t, unsigned>> walks_;  // addresses and levels
  std::vector<std::uint64_t> evictions_;
  template <class T>
  using ByRoleAndCpu = std::array<std::array<T, kHostCpus>, kRoles>;
  ByRoleAndCpu<const Column*> columns_{};
  bool has_nmis_{false};
  bool sends_interrupts_{false};
  std::vector<Thread> threads_;  // by CPU
  ByRoleAndCpu<Thread> handler_threads_{};
  std::array<std::uint32_t, kHostCpus> faults_{};
  std::array<std::uint32_t, kHostCpus> general_protections_{};
  std::array<std::uint32_t, kHostCpus> first_mm_{};
};

}  // namespace shootdown::host::litmus
