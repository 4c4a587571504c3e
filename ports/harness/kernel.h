// What is the same around any foreign code on the modelled machine: frames that become tables or
// pages as the entries say that lead to them, page-table words, and the oracles of hardware truth,
// which hear what the machine did and what became of frames.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "fuzz/events/events.h"
#include "fuzz/events/layout.h"
#include "fuzz/oracles/hardware/hardware_truth.h"
#include "fuzz/scenario/random.h"
#include "fuzz/scenario/scenario.h"
#include "hal/host/hal.h"
#include "hal/host/machine.h"
#include "ports/runtime/code.h"
#include "ports/runtime/memory.h"

namespace shootdown::port {

class ForeignKernel : public fuzz::KernelView, public host::Observer, public model::Frames {
 public:
  ForeignKernel(host::Machine& machine, model::Code& code)
      : machine_(machine), code_(code), memory_(machine, *this, code) {}

  /// Call between `Machine::prepare` and `Machine::run`.
  void prepare(const fuzz::Scenario& scenario);
  [[nodiscard]] model::Memory& memory() { return memory_; }
  [[nodiscard]] const model::Memory& memory() const { return memory_; }
  [[nodiscard]] const model::Code& code() const { return code_; }
  /// The processor that it wants, and the code for its CPUs.
  [[nodiscard]] virtual host::Setup setup(const fuzz::Scenario& scenario) = 0;
  /// The operations that it has, a bit for each kind.
  [[nodiscard]] virtual std::uint64_t kinds() const = 0;
  /// Of a header what it has: the others are at their defaults.
  virtual void keep(fuzz::Header& header) const = 0;
  /// Before a controller takes over each CPU does this many operations.
  void set_start_barrier(unsigned setup) { start_barrier_ = setup; }

  // KernelView.
  [[nodiscard]] unsigned mm_of(const void* /*mm*/) const override { return fuzz::kNoMm; }
  [[nodiscard]] CpuId cpu_of(const void* /*word*/) const override { return fuzz::kNoCpu; }
  [[nodiscard]] std::uint64_t leaf(unsigned mm, unsigned page) const override;
  [[nodiscard]] bool may_use_user_memory(CpuId cpu) const override { return uses_user_[cpu]; }
  [[nodiscard]] bool has_right(std::uint64_t entry) const override {
    return (entry & host::kPteWritable) != 0;
  }
  [[nodiscard]] bool in_user_mode(CpuId /*cpu*/) const override { return false; }
  [[nodiscard]] bool answers_early() const override { return false; }
  [[nodiscard]] bool kernel_is_global() const override { return false; }
  [[nodiscard]] std::uint32_t references(std::uint32_t /*frame*/) const override { return 1; }
  [[nodiscard]] bool waits_for_walkers(std::uint32_t /*frame*/) const override { return false; }
  [[nodiscard]] bool broadcasts() const override { return false; }

  // Observer.
  void after_change(CpuId /*cpu*/) override {}
  void on_cr3(CpuId cpu) override;
  void on_invalidate(CpuId /*cpu*/) override {}
  void on_fill(CpuId cpu, VirtAddr address, host::Provenance& from) override;
  bool on_walk(CpuId cpu, std::uint32_t frame, std::uint32_t life) override;
  void on_use(CpuId cpu, VirtAddr address, const host::TlbEntry& entry, bool write) override;
  void on_page_store(CpuId cpu, VirtAddr address, const host::TlbEntry& entry,
                     std::uint32_t life) override;
  void on_entry_stored(CpuId cpu, const std::uint64_t* word, bool is_there,
                       std::uint64_t value) override;
  void on_ipi(CpuId /*cpu*/, const host::HostCpuMask& /*targets*/) override {}
  void on_broadcast(CpuId /*cpu*/, const Invlpgb& /*what*/) override {}
  void on_broadcasts_done(CpuId /*cpu*/) override {}
  void on_trace(CpuId /*cpu*/, const TraceEvent& /*event*/) override {}
  std::string label(const void* address) override;

  // model::Frames.
  void on_word(std::uint64_t* word, std::uint64_t before, std::uint64_t after,
               bool buffered) override;
  void on_use(std::uint32_t frame, const char* verb) override;
  bool is_shared(std::uint32_t frame) override;
  std::uint64_t allocate() override;
  void release(std::uint64_t frame) override;
  std::uint64_t kernel_root() override;

 protected:
  /// A page of a mm: an operation has it, or it is mapped or not.
  enum class State : std::uint8_t { unmapped, mapped, taken };
  using Pages = std::array<State, fuzz::kSmallPages>;

  /// Code and oracles are as at first; `bring_up` follows.
  virtual void start_run() = 0;
  /// A word of the code's variables, if it has a better name than `code()` knows; or empty.
  [[nodiscard]] virtual std::string name_of_word(const void* /*address*/) const { return {}; }

  /// Runs the operations of a thread's program.
  template <class Execute>
  void run_program(unsigned thread, Execute&& execute);
  /// A new page for `page`, which an operation has taken; 0: there is none.
  std::uint64_t allocate_page(unsigned mm, unsigned page);
  /// The address of a frame as its owner makes it a top table.
  void adopt_root(std::uint64_t address, unsigned mm, unsigned level);
  /// One call of the code, which promises something of the pages `first` to `last`, or of those
  /// that its operation has taken.
  template <class Call>
  void promising(unsigned mm, unsigned first, unsigned last, Call&& call);
  template <class Call>
  void promising(unsigned mm, const std::vector<unsigned>& pages, Call&& call);
  void check_loaded(CpuId cpu, fuzz::After after);

  /// A frame that an entry leads to for the first time becomes what the entry says.
  void attach(std::uint32_t frame, std::uint64_t entry, std::uint32_t above, unsigned index);
  void scan(std::uint32_t table);
  [[nodiscard]] bool is_attached(std::uint32_t frame) const;

  host::Machine& machine_;
  model::Code& code_;
  model::Memory memory_;
  fuzz::HardwareTruth oracles_{machine_};
  const fuzz::Scenario* scenario_{nullptr};
  std::uint32_t kernel_root_{0};
  std::array<bool, fuzz::kMaxCpus> uses_user_{};

 private:
  void build_kernel();
  void take_back(std::uint32_t frame);
  /// The page of the kernel that this word of one of its page tables maps, or kKernelPages.
  [[nodiscard]] unsigned kernel_page_of_word(const std::uint64_t* word) const;

  unsigned start_barrier_{0};
  std::array<VirtAddr, host::FramePool::kFrames> base_{};  // the first address under each table
  /// Of each CPU's buffered entries, what they are: nothing that oracles know, a mm's, or a kernel
  /// page's.
  enum class Waiting : std::uint8_t { unknown, of_mm, of_kernel };
  std::array<std::deque<Waiting>, fuzz::kMaxCpus> waiting_;
};

template <class Execute>
void ForeignKernel::run_program(unsigned thread, Execute&& execute) {
  if (machine_.recorder().timeline().empty()) memory_.start_places();
  unsigned done = 0;
  const bool stops = machine_.setup().exploration.controller != nullptr;
  for (const fuzz::Op& op : scenario_->ops[thread]) {
    if (stops && done++ == start_barrier_) machine_.controlled().start_barrier();
    if (machine_.recorder().has_timeline()) machine_.recorder().line("== " + print(op), {});
    execute(op);
    memory_.settle();
  }
  if (stops && done <= start_barrier_) machine_.controlled().start_barrier();
}

template <class Call>
void ForeignKernel::promising(unsigned mm, const std::vector<unsigned>& pages, Call&& call) {
  oracles_.contents.on_operation(/*replaces=*/false);
  oracles_.promises.begin_promise();
  oracles_.contents.begin_promise();
  call();
  memory_.settle();
  // No other operation has changed these pages meanwhile.
  for (const unsigned page : pages) {
    const VirtAddr address = fuzz::page_address(page);
    oracles_.promises.note_promise(mm, address, address + 1);
  }
  oracles_.promises.on_promise();
  machine_.stop_if_failed();
}

template <class Call>
void ForeignKernel::promising(unsigned mm, unsigned first, unsigned last, Call&& call) {
  std::vector<unsigned> pages;
  for (unsigned page = first; page <= last; ++page) pages.push_back(page);
  promising(mm, pages, std::forward<Call>(call));
}

}  // namespace shootdown::port
