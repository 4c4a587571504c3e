// What operations of a scenario do to page tables: what they take away, which flush they ask for,
// and what they promise.
#include <algorithm>

#include "fuzz/scenario/kinds.h"
#include "ports/linux/kernel.h"

namespace shootdown::port {

using fuzz::kernel_address;
using fuzz::Op;
using fuzz::OpKind;
using fuzz::page_address;
using host::HostHal;

namespace {

constexpr std::uint64_t kFrameBits = 0x000f'ffff'ffff'f000;

}  // namespace

bool LinuxKernel::take(State& state, State from) {
  machine_.record_access(host::place(host::LocationKind::frames), true);
  if (state != from) return false;
  state = State::taken;
  return true;
}

/// The page allocator's lock is a locked instruction, which waits for the CPU's stores.
void LinuxKernel::give_back(std::uint64_t frame) {
  machine_.scheduler().visible(host::Pending::drained);
  machine_.memory().serialise(machine_.running());
  release(frame);
}

void LinuxKernel::map_page(unsigned mm, unsigned page) {
  State& state = pages_[mm][page];
  if (!take(state, State::unmapped)) return;
  const std::uint64_t frame = allocate_page(mm, page);
  const bool is_mapped = frame != 0 && glue_.map(mm, page_address(page), frame) != 0;
  memory_.settle();
  state = is_mapped ? State::mapped : State::unmapped;
}

void LinuxKernel::flush(unsigned mm, VirtAddr start, VirtAddr end, bool freed_tables) {
  const CpuId cpu = HostHal::this_cpu();
  const std::uint64_t begin = machine_.step();
  oracles_.flushes.on_flush_begun(cpu, mm, {.start = start, .end = end, .step = begin});
  glue_.flush(mm, start, end, freed_tables ? 1 : 0);
  memory_.settle();
  oracles_.flushes.on_flush_returns(cpu);
  oracles_.flushes.on_flush_returned(cpu, /*early=*/false);
  machine_.stop_if_failed();
}

void LinuxKernel::for_mapped(const Op& op) {
  std::vector<unsigned> taken;
  for (unsigned page = op.page; page < op.page + op.count; ++page) {
    if (take(pages_[op.mm][page], State::mapped)) taken.push_back(page);
  }
  if (taken.empty()) return;
  std::vector<std::uint64_t> frames;
  promising(op.mm, taken, [&] {
    for (const unsigned page : taken) {
      if (op.kind == OpKind::unmap) {
        frames.push_back(glue_.take(op.mm, page_address(page), 1) & kFrameBits);
      } else {
        glue_.set_writable(op.mm, page_address(page), op.kind == OpKind::unprotect ? 1 : 0);
      }
    }
    memory_.settle();
    // Rights that are given need no flush.
    if (op.kind == OpKind::unprotect) return;
    flush(op.mm, page_address(taken.front()), page_address(taken.back() + 1), false);
  });
  for (const std::uint64_t frame : frames) give_back(frame);
  for (const unsigned page : taken) {
    if (op.kind == OpKind::unmap) oracles_.contents.on_unmapped(op.mm, page, page);
    if (op.kind == OpKind::protect) oracles_.contents.on_protected(op.mm, page, page);
    machine_.stop_if_failed();
    pages_[op.mm][page] = op.kind == OpKind::unmap ? State::unmapped : State::mapped;
  }
}

void LinuxKernel::unmap_table(const Op& op) {
  const unsigned first = op.page / fuzz::kPagesPerTable * fuzz::kPagesPerTable;
  const unsigned last = first + fuzz::kPagesPerTable - 1;
  Pages& pages = pages_[op.mm];
  const auto begin = pages.begin() + first;
  const auto end = begin + fuzz::kPagesPerTable;
  machine_.record_access(host::place(host::LocationKind::frames), true);
  if (std::find(begin, end, State::taken) != end) return;
  if (std::find(begin, end, State::mapped) == end) return;
  std::vector<unsigned> mapped;
  for (unsigned page = first; page <= last; ++page) {
    if (pages[page] == State::mapped) mapped.push_back(page);
  }
  std::fill(begin, end, State::taken);
  std::vector<std::uint64_t> frames;
  std::uint64_t table = 0;
  promising(op.mm, first, last, [&] {
    for (const unsigned page : mapped) {
      frames.push_back(glue_.take(op.mm, page_address(page), 1) & kFrameBits);
    }
    table = glue_.take(op.mm, page_address(first), 2) & kFrameBits;
    memory_.settle();
    flush(op.mm, page_address(first), page_address(last + 1), true);
    if (scenario_->header.defer_tables) glue_.grace_period();
  });
  for (const std::uint64_t frame : frames) give_back(frame);
  give_back(table);
  std::fill(begin, end, State::unmapped);
  oracles_.contents.on_unmapped(op.mm, first, last);
  machine_.stop_if_failed();
}

void LinuxKernel::reclaim(const Op& op) {
  if (!take(pages_[op.mm][op.page], State::mapped)) return;
  const CpuId cpu = HostHal::this_cpu();
  const std::uint64_t frame = glue_.take(op.mm, page_address(op.page), 1) & kFrameBits;
  memory_.settle();
  glue_.batch_add(op.mm, page_address(op.page));
  memory_.settle();
  oracles_.promises.on_batch_add(cpu);
  batches_[cpu].push_back({.mm = op.mm, .page = op.page, .frame = frame});
}

void LinuxKernel::flush_batch() {
  const CpuId cpu = HostHal::this_cpu();
  if (batches_[cpu].empty()) return;
  glue_.batch_flush();
  memory_.settle();
  oracles_.promises.on_batch_returned(cpu);
  machine_.stop_if_failed();
  for (const Reclaimed& page : batches_[cpu]) {
    give_back(page.frame);
    pages_[page.mm][page.page] = State::unmapped;
  }
  batches_[cpu].clear();
}

void LinuxKernel::flush_everything() {
  glue_.flush_all();
  memory_.settle();
}

// ---- The kernel's own pages

void LinuxKernel::map_kernel_page(unsigned page) {
  State& state = kernel_pages_[page];
  if (!take(state, State::unmapped)) return;
  const std::uint64_t frame = allocate_page(fuzz::kKernelMm, page);
  const bool is_mapped = frame != 0 && glue_.kernel_map(kernel_address(page), frame) != 0;
  memory_.settle();
  state = is_mapped ? State::mapped : State::unmapped;
}

void LinuxKernel::unmap_kernel_pages(const Op& op) {
  std::vector<unsigned> taken;
  // The last page is the end of the address space, which no range of Linux includes.
  for (unsigned page = op.page; page < std::min<unsigned>(op.page + op.count, 3); ++page) {
    if (take(kernel_pages_[page], State::mapped)) taken.push_back(page);
  }
  if (taken.empty()) return;
  const CpuId cpu = HostHal::this_cpu();
  std::vector<std::uint64_t> frames;
  frames.reserve(taken.size());
  for (const unsigned page : taken) {
    frames.push_back(glue_.kernel_take(kernel_address(page)) & kFrameBits);
  }
  memory_.settle();
  const VirtAddr start = kernel_address(taken.front());
  const VirtAddr end = kernel_address(taken.back() + 1);
  oracles_.flushes.on_kernel_flush_begun(cpu,
                                         {.start = start, .end = end, .step = machine_.step()});
  glue_.flush_kernel(start, end);
  memory_.settle();
  oracles_.flushes.on_kernel_flush_returned(cpu);
  machine_.stop_if_failed();
  for (const std::uint64_t frame : frames) give_back(frame);
  for (const unsigned page : taken) kernel_pages_[page] = State::unmapped;
}

void LinuxKernel::read_kernel_page(unsigned page) {
  // What the kernel reads it has mapped, and keeps meanwhile.
  State& state = kernel_pages_[page];
  if (!take(state, State::mapped)) return;
  static_cast<void>(machine_.translation().access(kernel_address(page), false));
  state = State::mapped;
}

}  // namespace shootdown::port
