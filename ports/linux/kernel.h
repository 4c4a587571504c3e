// Linux around its own TLB code (glue.c): bring-up, tasks, page tables, and what operations of a
// scenario mean there. What they promise it tells to the oracles of hardware truth.
//
// Pages have owners: an operation takes the pages that it is about, as if it held the lock of the
// mm's address range, or leaves those that another one has.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "ports/harness/kernel.h"

namespace shootdown::port {

/// The functions of glue.c.
struct Glue {
  void (*boot)(unsigned cpus, unsigned long features, unsigned ceiling, unsigned trims,
               unsigned long root){nullptr};
  void (*cpu_up)(){nullptr};
  void (*cpu_down)(){nullptr};
  void (*mm_create)(unsigned mm, unsigned long root, unsigned long user_root){nullptr};
  unsigned long (*root)(unsigned mm){nullptr};
  void (*switch_to)(unsigned mm){nullptr};
  void (*idle)(){nullptr};
  void (*leave)(){nullptr};
  void (*to_user)(){nullptr};
  int (*to_kernel)(){nullptr};
  void (*interrupt)(){nullptr};
  int (*map)(unsigned mm, unsigned long address, unsigned long frame){nullptr};
  unsigned long (*take)(unsigned mm, unsigned long address, int level){nullptr};
  void (*set_writable)(unsigned mm, unsigned long address, int on){nullptr};
  void (*flush)(unsigned mm, unsigned long start, unsigned long end, int freed_tables){nullptr};
  void (*flush_all)(){nullptr};
  void (*grace_period)(){nullptr};
  void (*batch_add)(unsigned mm, unsigned long address){nullptr};
  void (*batch_flush)(){nullptr};
  int (*kernel_map)(unsigned long address, unsigned long frame){nullptr};
  unsigned long (*kernel_take)(unsigned long address){nullptr};
  void (*flush_kernel)(unsigned long start, unsigned long end){nullptr};
  unsigned (*task)(){nullptr};
  int (*nmi_may_read)(){nullptr};
  // Where the copies of the variables of CPUs begin, and how long each is.
  char* (*percpu)(){nullptr};
  char* (*percpu_template)(){nullptr};
  const char* (*field)(const char* kind, std::size_t offset){nullptr};
  const void* (*mm)(unsigned mm){nullptr};
  std::size_t (*mm_bytes)(){nullptr};

  /// False: `missing` names what the code lacks.
  bool find(const model::Code& code, std::string& missing);
};

void draw_linux_header(fuzz::Random& random, fuzz::Header& header);

class LinuxKernel final : public ForeignKernel {
 public:
  LinuxKernel(host::Machine& machine, model::Code& code, const Glue& glue)
      : ForeignKernel(machine, code), glue_(glue) {}

  [[nodiscard]] host::Setup setup(const fuzz::Scenario& scenario) override;
  [[nodiscard]] std::uint64_t kinds() const override;
  void keep(fuzz::Header& header) const override;

  /// Of any of its words: windows are where a CPU goes on from what it has read there.
  [[nodiscard]] unsigned mm_of(const void* word) const override;
  [[nodiscard]] PhysAddr root(unsigned mm) const override { return roots_[mm]; }
  [[nodiscard]] bool in_user_mode(CpuId cpu) const override { return in_user_mode_[cpu]; }
  [[nodiscard]] bool kernel_is_global() const override {
    return scenario_->header.global_pages && !scenario_->header.pti;
  }

 private:
  static constexpr unsigned kNoMmLoaded = ~0U;
  /// What a CPU's batch has taken away, and still has to flush.
  struct Reclaimed {
    unsigned mm;
    unsigned page;
    std::uint64_t frame;
  };

  // Code for the machine's CPUs.
  static void boot(void* self, CpuId cpu);
  static void program(void* self, unsigned thread);
  static void interrupt(void* self, CpuId cpu);
  static void nmi(void* self, CpuId cpu);

  void start_run() override;
  [[nodiscard]] std::string name_of_word(const void* address) const override;
  void bring_up();
  void create_mm(unsigned mm);
  void execute(const fuzz::Op& op);
  // Tasks.
  void run_task(unsigned mm);
  void resume();
  void go_idle(bool leaves);
  void access(const fuzz::Op& op);
  void hotplug(bool up);
  // Memory. What an operation has taken nothing else may change.
  bool take(State& state, State from);
  void give_back(std::uint64_t frame);
  void map_page(unsigned mm, unsigned page);
  void for_mapped(const fuzz::Op& op);
  void unmap_table(const fuzz::Op& op);
  void reclaim(const fuzz::Op& op);
  void flush_batch();
  void map_kernel_page(unsigned page);
  void unmap_kernel_pages(const fuzz::Op& op);
  void read_kernel_page(unsigned page);
  /// A flush that promises what it is asked for.
  void flush(unsigned mm, VirtAddr start, VirtAddr end, bool freed_tables);
  void flush_everything();

  const Glue& glue_;
  std::array<PhysAddr, fuzz::kMaxMms> roots_{};
  std::array<Pages, fuzz::kMaxMms> pages_{};
  std::array<State, fuzz::kKernelPages> kernel_pages_{};
  // Of each CPU.
  std::array<unsigned, fuzz::kMaxCpus> loaded_{};
  std::array<bool, fuzz::kMaxCpus> in_user_mode_{};
  std::array<std::vector<Reclaimed>, fuzz::kMaxCpus> batches_;
  // As in the kernel, where every CPU stops before one goes.
  std::array<bool, fuzz::kMaxCpus> offline_{};
  std::array<bool, fuzz::kMaxCpus> busy_{};
  bool stops_{false};
};

}  // namespace shootdown::port
