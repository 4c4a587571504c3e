// Pages in the kernel's half that tests map, change and take away.
#pragma once

#include "kernel-glue/kernel/self_tests/support.h"

namespace shootdown::kernel {

/// What follows a change of kernel pages.
void flush_kernel_pages(VirtAddr start, std::uint64_t pages, Shootdown how = kernel_shootdown);

/// A GiB of kernel addresses that nothing else uses, seen by every address space.
class KernelWindow {
 public:
  KernelWindow();
  ~KernelWindow();
  KernelWindow(const KernelWindow&) = delete;
  KernelWindow& operator=(const KernelWindow&) = delete;

  [[nodiscard]] static VirtAddr page(std::uint64_t index);
  /// Points a page to `frame`. Flushes nothing.
  static void map(std::uint64_t index, PhysAddr frame);

  /// Takes the window's page tables out of the kernel's. Flushes nothing.
  void unhook();
  /// Frees them. The token is proof that no CPU can walk them.
  void release(const KernelWalkersQuiet& quiet);

 private:
  PhysAddr directory_;
  PhysAddr table_;
  bool hooked_{true};
  bool released_{false};
};

/// What a CPU reads at a kernel address; 0 if it faults.
[[nodiscard]] std::uint64_t read_on(CpuId cpu, VirtAddr address);

/// True if every CPU reads `marker` there.
[[nodiscard]] bool all_cpus_read(VirtAddr address, std::uint64_t marker);

/// True if every CPU but this one does.
[[nodiscard]] bool others_read(VirtAddr address, std::uint64_t marker);

}  // namespace shootdown::kernel
