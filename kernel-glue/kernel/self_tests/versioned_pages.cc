#include "kernel-glue/kernel/self_tests/versioned_pages.h"

#include "kernel-glue/kernel/interrupts.h"
#include "kernel-glue/kernel/page_table.h"

namespace shootdown::kernel {
namespace {

constexpr std::uint64_t kVersionBits = 40;
/// What a frame holds that is free, and what a freed page table leads to.
constexpr std::uint64_t kFree = 0xdead'0000'0000'0000;

volatile std::uint64_t& first_word(PhysAddr frame) {
  return *direct_map<volatile std::uint64_t>(frame);
}

void release(PhysAddr frame) {
  first_word(frame) = kFree;
  free_frame(frame);
}

/// A walk through a table that is free leads to the table itself, whose words are no version.
void release_table(PhysAddr table) {
  auto* entries = direct_map<Entry>(table);
  for (std::size_t i = 0; i < kEntries; ++i) set_entry(entries[i], table | kUserData);
  free_frame(table);
}

}  // namespace

VersionedPages::VersionedPages(AddressSpace& mm, std::uint64_t identity, VirtAddr base)
    : mm_(&mm), identity_(identity), base_(base) {
  for (std::uint64_t i = 0; i < kPages; ++i) entries_[i] = &mm.page_entry(address(i));
  map_first_frames();
}

VersionedPages::VersionedPages(std::uint64_t identity, VirtAddr base)
    : mm_(nullptr), identity_(identity), base_(base) {
  for (std::uint64_t i = 0; i < kPages; ++i) {
    entries_[i] = &kernel_tables().page_entry(address(i), kPresent | kWritable);
  }
  map_first_frames();
}

VersionedPages::~VersionedPages() {
  for (std::uint64_t i = 0; i < kPages; ++i) {
    set_entry(*entries_[i], 0);
    free_frame(frames_[i]);
  }
  if (mm_ == nullptr) static_cast<void>(flush_tlb_kernel_range(tlb, base_, address(kPages)));
}

std::uint64_t VersionedPages::word(std::uint64_t index, std::uint64_t version) const {
  return (identity_ * kPages + index) << kVersionBits | version;
}

std::uint64_t VersionedPages::flags() const {
  if (mm_ != nullptr) return kUserData;
  return kPresent | kWritable | kNoExecute | (tlb.config().kernel_is_global() ? kGlobal : 0);
}

PhysAddr VersionedPages::new_frame(std::uint64_t index, std::uint64_t version) const {
  const PhysAddr frame = allocate_frame();
  first_word(frame) = word(index, version);
  return frame;
}

void VersionedPages::map_first_frames() {
  for (std::uint64_t i = 0; i < kPages; ++i) {
    frames_[i] = new_frame(i, 0);
    set_entry(*entries_[i], frames_[i] | flags());
  }
}

void VersionedPages::flush(std::uint64_t index, PageFlush how) {
  const VirtAddr start = address(index);
  const FlushRange range{.start = start, .end = start + kPageBytes};
  if (mm_ == nullptr) {
    static_cast<void>(flush_tlb_kernel_range(tlb, range.start, range.end));
    return;
  }
  switch (how) {
    case PageFlush::page:
      static_cast<void>(flush_tlb_page(tlb, mm_->core, start));
      return;
    case PageFlush::range:
      static_cast<void>(flush_tlb_mm_range(tlb, mm_->core, range));
      return;
    case PageFlush::everything:
      static_cast<void>(flush_tlb_mm(tlb, mm_->core));
      return;
    case PageFlush::early:
      static_cast<void>(flush_tlb_mm_range_early(tlb, mm_->core, range));
      return;
  }
}

void VersionedPages::promise(std::uint64_t index, std::uint64_t version) {
  // Release: behind the flush, against the acquire in `read`.
  promised_[index].store(version, std::memory_order_release);
  replacements_.fetch_add(1, std::memory_order_relaxed);
}

void VersionedPages::replace(std::uint64_t index, PageFlush how) {
  if (busy_.exchange(true, std::memory_order_acq_rel)) return;
  const std::uint64_t version = promised_[index].load(std::memory_order_relaxed) + 1;
  const PhysAddr old = frames_[index];
  frames_[index] = new_frame(index, version);
  set_entry(*entries_[index], frames_[index] | flags());
  flush(index, how);
  promise(index, version);
  // After an early answer nothing may be released yet.
  if (how == PageFlush::early) flush(index, PageFlush::page);
  release(old);
  busy_.store(false, std::memory_order_release);
}

void VersionedPages::replace_table() {
  if (busy_.exchange(true, std::memory_order_acq_rel)) return;
  const PhysAddr table = allocate_frame();
  const std::array<PhysAddr, kPages> old_frames = frames_;
  for (std::uint64_t i = 0; i < kPages; ++i) {
    frames_[i] = new_frame(i, promised_[i].load(std::memory_order_relaxed) + 1);
    Entry& entry = direct_map<Entry>(table)[(address(i) >> kPageShift) % kEntries];
    set_entry(entry, frames_[i] | flags());
    entries_[i] = &entry;
  }
  Entry& hook = mm_->large_entry(base_);
  const std::uint64_t old = hook.exchange(0, std::memory_order_acq_rel);
  static_cast<void>(
      flush_tlb_mm_range_freed_tables(tlb, mm_->core, {.start = base_, .end = address(kPages)}));
  for (std::uint64_t i = 0; i < kPages; ++i) {
    promise(i, promised_[i].load(std::memory_order_relaxed) + 1);
    release(old_frames[i]);
  }
  release_table(old & kFrameMask);
  set_entry(hook, table | (old & ~kFrameMask));
  busy_.store(false, std::memory_order_release);
}

bool VersionedPages::is_right(std::uint64_t index, std::uint64_t found, std::uint64_t least,
                              WrongRead& wrong) const {
  const bool right_page = found >> kVersionBits == word(index, 0) >> kVersionBits;
  if (right_page && found >= word(index, least)) return true;
  wrong = {.cpu = x86::this_cpu(),
           .address = address(index),
           .found = found,
           .least = word(index, least)};
  return false;
}

bool VersionedPages::read(std::uint64_t index, WrongRead& wrong) const {
  const std::uint64_t least = promised_[index].load(std::memory_order_acquire);
  return is_right(index, read_marker(address(index)), least, wrong);
}

bool VersionedPages::read_if_there(std::uint64_t index, WrongRead& wrong) const {
  const std::uint64_t least = promised_[index].load(std::memory_order_acquire);
  std::uint64_t found = 0;
  return !probe_read(address(index), found) || is_right(index, found, least, wrong);
}

}  // namespace shootdown::kernel
