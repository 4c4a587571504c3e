// Pages of 2 MiB and 1 GiB: everything is flushed for each, since one invalidation would leave
// older small entries, whichever part of it a CPU has cached.
#include "kernel-glue/kernel/interrupts.h"
#include "kernel-glue/kernel/self_tests/self_tests.h"
#include "kernel-glue/kernel/self_tests/support.h"

namespace shootdown::kernel {
namespace {

/// Memory behind the kernel's image and in front of the machine's 64 MiB, which nothing else uses.
constexpr PhysAddr kOldFrame = PhysAddr{16} << 20;
constexpr PhysAddr kNewFrame = PhysAddr{18} << 20;

/// Where the tests look, away from the page numbers of all other code, modulo the emulator's TLB.
constexpr VirtAddr kLargePage = 0x40'4060'0000;
constexpr VirtAddr kHugePage = 0x41'0000'0000;
constexpr std::array<std::uint64_t, 3> kParts = {0x13'0000, 0x14'0000, 0x1f'0000};

constexpr std::uint64_t kUserLarge = kUserData | kLarge;

/// Each part that the tests look at tells its frame.
void mark(PhysAddr frame, std::uint64_t marker) {
  for (const std::uint64_t part : kParts) {
    *direct_map<volatile std::uint64_t>(frame + part) = marker + part;
  }
}

constexpr std::uint64_t kOldMarker = 0x01d;
constexpr std::uint64_t kNewMarker = 0x2e3;

/// Every reader finds the marker of `expected` in every part.
bool all_parts_read(SpinningReaders& readers, std::uint64_t expected) {
  bool all = true;
  for (const std::uint64_t part : kParts) {
    readers.read(kLargePage + part);
    all = all && readers.all_found(expected + part);
  }
  return all;
}

bool has_huge_pages() {
  constexpr std::uint32_t kExtended = 0x8000'0001;
  return x86::cpuid(0x8000'0000).eax >= kExtended && ((x86::cpuid(kExtended).edx >> 26) & 1) != 0;
}

void flush(AddressSpace& mm, VirtAddr start, std::uint8_t shift) {
  const FlushRange range{
      .start = start, .end = start + (VirtAddr{1} << shift), .stride_shift = shift};
  if (ordinary_shootdown == Shootdown::complete) {
    static_cast<void>(flush_tlb_mm_range(tlb, mm.core, range));
  } else {
    x86::invlpg(start);
  }
}

}  // namespace

void test_large_page(Report& report) {
  AddressSpace mm;
  mark(kOldFrame, kOldMarker);
  mark(kNewFrame, kNewMarker);
  set_entry(mm.large_entry(kLargePage), kOldFrame | kUserLarge);
  {
    SpinningReaders readers{mm, other_cpus()};
    report.expect(all_parts_read(readers, kOldMarker), "every CPU reads the first mapping");
    set_entry(mm.large_entry(kLargePage), kNewFrame | kUserLarge);
    report.expect(all_parts_read(readers, kOldMarker), "without a flush the entries are stale");

    const Counters before = counters_of(1);
    flush(mm, kLargePage, kLargePageShift);
    report.expect(all_parts_read(readers, kNewMarker), "one flush covers every part");
    const Counters after = counters_of(1);
    report.expect(after.local_flush_one == before.local_flush_one &&
                      after.local_flush_all - before.local_flush_all == 1,
                  "it was one flush of everything");
  }
  set_entry(mm.large_entry(kLargePage), 0);
}

void test_huge_page(Report& report) {
  if (!has_huge_pages()) return report.note("this processor has no pages of 1 GiB");
  constexpr CpuId kCpu = 1;
  // Its number modulo the emulator's TLB is below those of the kernel's image.
  constexpr std::uint64_t kPart = 0x8'0000;
  AddressSpace mm;
  *direct_map<volatile std::uint64_t>(kOldFrame + kPart) = kOldMarker;
  const VirtAddr address = kHugePage + kOldFrame + kPart;
  std::uint64_t found = 0;
  set_entry(mm.huge_entry(kHugePage), kUserLarge);
  run_on(kCpu, [&](CpuId) {
    load(mm.core);
    found = read_marker(address);
  });
  report.expect(found == kOldMarker, "the page shows physical memory");
  const auto readable = [&] {
    bool ok = false;
    run_on(kCpu, [&](CpuId) { ok = probe_read(address, found); });
    return ok;
  };
  set_entry(mm.huge_entry(kHugePage), 0);
  report.expect(readable(), "without a flush the unmapped page is readable");
  flush(mm, kHugePage, kHugePageShift);
  report.expect(!readable(), "after the flush it is out of reach");
  run_on(kCpu, [](CpuId) { load_kernel_mm(); });
}

}  // namespace shootdown::kernel
