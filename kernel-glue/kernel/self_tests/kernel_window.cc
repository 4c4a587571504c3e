#include "kernel-glue/kernel/self_tests/kernel_window.h"

#include "kernel-glue/kernel/interrupts.h"

namespace shootdown::kernel {
namespace {

/// The last GiB of addresses. Its page numbers are away from those of kernel data, modulo the
/// emulator's TLB.
constexpr VirtAddr kWindow = 0xffff'ffff'c06c'0000;
constexpr std::uint64_t kKernelTable = kPresent | kWritable;

}  // namespace

void flush_kernel_pages(VirtAddr start, std::uint64_t pages, Shootdown how) {
  const VirtAddr end = start + pages * kPageBytes;
  if (how == Shootdown::complete && kernel_shootdown == Shootdown::complete) {
    static_cast<void>(flush_tlb_kernel_range(tlb, start, end));
    return;
  }
  for (VirtAddr page = start; page < end; page += kPageBytes) x86::invlpg(page);
}

VirtAddr KernelWindow::page(std::uint64_t index) { return kWindow + index * kPageBytes; }

KernelWindow::KernelWindow() {
  const PageTable tables = kernel_tables();
  const auto frame_in = [](const Entry& entry) {
    return entry.load(std::memory_order_relaxed) & kFrameMask;
  };
  static_cast<void>(tables.page_entry(kWindow, kKernelTable));
  directory_ = frame_in(tables.huge_entry(kWindow, kKernelTable));
  table_ = frame_in(tables.large_entry(kWindow, kKernelTable));
}

KernelWindow::~KernelWindow() {
  if (hooked_) unhook();
  if (!released_) release(exclude_walkers(tlb, flush_tlb_all(tlb)));
}

void KernelWindow::map(std::uint64_t index, PhysAddr frame) {
  const std::uint64_t global = tlb.config().kernel_is_global() ? kGlobal : 0;
  set_entry(kernel_tables().page_entry(page(index), kKernelTable),
            frame | kPresent | kWritable | kNoExecute | global);
}

void KernelWindow::unhook() {
  set_entry(kernel_tables().huge_entry(kWindow, kKernelTable), 0);
  hooked_ = false;
}

void KernelWindow::release(const KernelWalkersQuiet& quiet) {
  require<Hal>(quiet.covers_kernel(), Rule::r1, "tables are released with a spent token");
  free_frame(table_);
  free_frame(directory_);
  released_ = true;
}

std::uint64_t read_on(CpuId cpu, VirtAddr address) {
  std::uint64_t value = 0;
  auto read = [&](CpuId) {
    if (!probe_read(address, value)) value = 0;
  };
  if (cpu == x86::this_cpu()) {
    read(cpu);
  } else {
    run_on(cpu, read);
  }
  return value;
}

bool others_read(VirtAddr address, std::uint64_t marker) {
  bool all = true;
  for (CpuId cpu = 1; cpu < cpu_count(); ++cpu) all = all && read_on(cpu, address) == marker;
  return all;
}

bool all_cpus_read(VirtAddr address, std::uint64_t marker) {
  return read_on(0, address) == marker && others_read(address, marker);
}

}  // namespace shootdown::kernel
