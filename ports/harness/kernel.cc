#include "ports/harness/kernel.h"

#include <string>
#include <utility>

#include "fuzz/oracles/reports/names.h"
#include "hal/host/walk.h"

namespace shootdown::port {

using fuzz::After;
using fuzz::kKernelMm;
using fuzz::kNoMm;
using fuzz::owner_level;
using fuzz::owner_mm;
using fuzz::owner_tag;
using host::FrameInfo;
using host::FrameKind;
using host::FramePool;
using host::kPteLarge;
using host::kPtePresent;

namespace {

constexpr std::uint16_t kNotYet = owner_tag(kKernelMm, 0);  // a frame that no entry has led to

}  // namespace

void ForeignKernel::prepare(const fuzz::Scenario& scenario) {
  scenario_ = &scenario;
  code_.reset();
  memory_.start();
  model::current_memory = &memory_;
  base_.fill(0);
  for (auto& stores : waiting_) stores.clear();
  uses_user_.fill(false);
  oracles_.start(*this, scenario.header.mms);
  build_kernel();
  start_run();
}

/// The kernel's root, with one table below it that all mms share.
void ForeignKernel::build_kernel() {
  FramePool& frames = machine_.frames();
  kernel_root_ = frames.allocate(FrameKind::table, owner_tag(kKernelMm, 4), 0, 0);
  const std::uint32_t upper = frames.allocate(FrameKind::table, owner_tag(kKernelMm, 3), 0, 0);
  const unsigned index = host::table_index(fuzz::kKernelBase, 4);
  frames.words(kernel_root_)[index] = FramePool::address(upper) | kPtePresent | host::kPteWritable;
  base_[upper] = ~VirtAddr{0} << (kPageShift + 27);
}

// ---- The machine

void ForeignKernel::on_cr3(CpuId cpu) {
  oracles_.truth.on_cr3(cpu);
  oracles_.roots.on_cr3(cpu);
}

void ForeignKernel::on_fill(CpuId cpu, VirtAddr address, host::Provenance& from) {
  oracles_.truth.on_fill(cpu, address, from);
}

bool ForeignKernel::on_walk(CpuId cpu, std::uint32_t frame, std::uint32_t life) {
  return oracles_.tables.on_walk(cpu, frame, life);
}

void ForeignKernel::on_use(CpuId cpu, VirtAddr address, const host::TlbEntry& entry, bool write) {
  if (oracles_.use.on_use(cpu, address, entry) && fuzz::page_of(address) != fuzz::kPages) {
    oracles_.contents.on_use(cpu, address, entry, write);
  }
}

void ForeignKernel::on_page_store(CpuId cpu, VirtAddr address, const host::TlbEntry& entry,
                                  std::uint32_t life) {
  oracles_.use.on_page_store(cpu, address, entry, life);
}

void ForeignKernel::on_entry_stored(CpuId cpu, const std::uint64_t* word, bool is_there,
                                    std::uint64_t value) {
  // Stores leave the buffer in the order in which they came.
  const Waiting kind = waiting_[cpu].front();
  waiting_[cpu].pop_front();
  const std::uint32_t frame = machine_.frames().frame_of(word);
  if (kind == Waiting::of_mm) oracles_.contents.on_store_arrives(word);
  if (!is_there) {
    oracles_.releases.on_late_entry_store(cpu, frame);
  } else if (kind == Waiting::of_kernel) {
    oracles_.truth.on_entry_stored(word, *word, value);
  } else if (is_attached(frame) && owner_mm(machine_.frames().info(frame).owner) != kKernelMm) {
    oracles_.truth.on_table_write(word, *word, value);
  }
}

std::string ForeignKernel::label(const void* address) {
  const auto value = reinterpret_cast<std::uintptr_t>(address);
  if (fuzz::page_of(value) != fuzz::kPages) return fuzz::page_name(fuzz::page_of(value));
  if (fuzz::kernel_page_of(value) < fuzz::kKernelPages) {
    return fuzz::kernel_page_name(fuzz::kernel_page_of(value));
  }
  const auto* word = reinterpret_cast<const std::uint64_t*>(value & ~std::uintptr_t{7});
  const std::uint32_t frame = machine_.frames().frame_of(word);
  if (frame != FramePool::kNoFrame) {
    static constexpr const char* kNames[] = {"page",  "table", "directory",
                                             "upper", "root",  "user_root"};
    const std::uint16_t owner = machine_.frames().info(frame).owner;
    const unsigned level = owner_level(owner);
    const std::string whose = !is_attached(frame) && level == 0 ? "frame " + std::to_string(frame)
                              : owner_mm(owner) == kKernelMm
                                  ? std::string("kernel.") + kNames[level % 6]
                                  : fuzz::mm_name(owner_mm(owner)) + "." + kNames[level % 6];
    return whose + "[" + std::to_string(word - machine_.frames().words(frame)) + "]";
  }
  if (std::string name = name_of_word(address); !name.empty()) return name;
  if (code_.holds(address)) return code_.name_of(address);
  return "word " + std::to_string(value % 4096);
}

// ---- Frames

bool ForeignKernel::is_attached(std::uint32_t frame) const {
  const FrameInfo& info = machine_.frames().info(frame);
  return info.kind == FrameKind::data || owner_level(info.owner) != 0;
}

bool ForeignKernel::is_shared(std::uint32_t frame) {
  const FrameInfo& info = machine_.frames().info(frame);
  return is_attached(frame) && oracles_.truth.unhooked(frame).life != info.life;
}

void ForeignKernel::on_use(std::uint32_t frame, const char* verb) {
  if (frame != FramePool::kNoFrame && machine_.frames().info(frame).kind != FrameKind::free) {
    return;
  }
  oracles_.releases.on_software_use(frame, FrameKind::table, verb);
}

std::uint64_t ForeignKernel::allocate() {
  machine_.record_access(host::place(host::LocationKind::frames), true);
  const std::uint32_t frame =
      machine_.frames().allocate(FrameKind::table, kNotYet, machine_.step(), machine_.running().id);
  if (frame == FramePool::kNoFrame) {
    machine_.reach(host::Limit::frames);
    return 0;
  }
  machine_.record_access(host::place(host::LocationKind::frame, frame), true);
  return FramePool::address(frame);
}

std::uint64_t ForeignKernel::allocate_page(unsigned mm, unsigned page) {
  machine_.record_access(host::place(host::LocationKind::frames), true);
  const std::uint32_t frame = machine_.frames().allocate(FrameKind::data, owner_tag(mm, page),
                                                         machine_.step(), machine_.running().id);
  if (frame == FramePool::kNoFrame) {
    machine_.reach(host::Limit::frames);
    return 0;
  }
  machine_.record_access(host::place(host::LocationKind::frame, frame), true);
  oracles_.contents.on_page_allocated(frame);
  // What a store leaves in the dirty bit is no concern of code whose pages are nowhere else.
  oracles_.releases.on_store_recorded(frame);
  return FramePool::address(frame);
}

std::uint64_t ForeignKernel::kernel_root() { return FramePool::address(kernel_root_); }

void ForeignKernel::adopt_root(std::uint64_t address, unsigned mm, unsigned level) {
  const std::uint32_t frame = FramePool::frame_at(address);
  machine_.frames().become(frame, FrameKind::table, owner_tag(mm, level));
  scan(frame);
}

void ForeignKernel::attach(std::uint32_t frame, std::uint64_t entry, std::uint32_t above,
                           unsigned index) {
  const std::uint16_t owner = machine_.frames().info(above).owner;
  const unsigned level = std::min(owner_level(owner), 4U) - 1;
  const unsigned mm = owner_mm(owner);
  VirtAddr address = base_[above] + (VirtAddr{index} << (kPageShift + (9 * level)));
  if ((address >> 47 & 1) != 0) address |= ~VirtAddr{0} << 48;
  if (level == 0 || (entry & kPteLarge) != 0) {
    const unsigned page = mm == kKernelMm ? fuzz::kernel_page_of(address) : fuzz::page_of(address);
    machine_.frames().become(frame, FrameKind::data, owner_tag(mm, page));
    oracles_.contents.on_page_allocated(frame);
    oracles_.releases.on_store_recorded(frame);
    return;
  }
  base_[frame] = address;
  machine_.frames().become(frame, FrameKind::table,
                           owner_tag(mm, fuzz::table_what(level, address) & 0xff));
  scan(frame);
}

void ForeignKernel::scan(std::uint32_t table) {
  const std::uint64_t* words = machine_.frames().words(table);
  for (unsigned index = 0; index < FramePool::kWords; ++index) {
    const std::uint64_t entry = machine_.memory().seen_by(machine_.running(), words + index);
    if ((entry & kPtePresent) == 0) continue;
    const std::uint32_t frame = FramePool::frame_at(entry);
    if (frame != FramePool::kNoFrame && !is_attached(frame)) attach(frame, entry, table, index);
  }
}

unsigned ForeignKernel::kernel_page_of_word(const std::uint64_t* word) const {
  const std::uint32_t table = machine_.frames().frame_of(word);
  const std::uint16_t owner = machine_.frames().info(table).owner;
  if (owner_mm(owner) != kKernelMm || owner_level(owner) != 1) return fuzz::kKernelPages;
  const auto index = static_cast<VirtAddr>(word - machine_.frames().words(table));
  return fuzz::kernel_page_of(base_[table] + (index << kPageShift));
}

void ForeignKernel::on_word(std::uint64_t* word, std::uint64_t before, std::uint64_t after,
                            bool buffered) {
  const std::uint32_t table = machine_.frames().frame_of(word);
  const bool waits = buffered && machine_.observer() != nullptr;
  const FrameInfo& info = machine_.frames().info(table);
  const bool known = info.kind == FrameKind::table && owner_level(info.owner) != 0;
  const bool of_mm = known && owner_mm(info.owner) != kKernelMm;
  const unsigned kernel_page = known && !of_mm ? kernel_page_of_word(word) : fuzz::kKernelPages;
  const bool of_kernel = kernel_page < fuzz::kKernelPages;
  if (waits) {
    waiting_[machine_.running().id].push_back(of_mm       ? Waiting::of_mm
                                              : of_kernel ? Waiting::of_kernel
                                                          : Waiting::unknown);
  }
  if (!known) return;
  const std::uint32_t below = FramePool::frame_at(after);
  if ((after & kPtePresent) != 0 && below != FramePool::kNoFrame && !is_attached(below)) {
    attach(below, after, table, static_cast<unsigned>(word - machine_.frames().words(table)));
  }
  if (of_kernel) {
    if (waits) oracles_.truth.on_kernel_entry_store(kernel_page);
    const bool is_lost = (before & kPtePresent) != 0 &&
                         ((after & kPtePresent) == 0 || FramePool::frame_at(before) != below);
    if (is_lost) oracles_.truth.on_kernel_entry_changed(kernel_page);
  }
  if (!of_mm) return;
  if (waits) {
    oracles_.contents.on_table_write(word);
    oracles_.contents.on_store_waits();
  } else {
    oracles_.truth.on_table_write(word, before, after);
    oracles_.contents.on_table_write(word);
  }
}

void ForeignKernel::release(std::uint64_t address) {
  const std::uint32_t frame = FramePool::frame_at(address);
  if (frame == FramePool::kNoFrame) {
    oracles_.releases.on_software_use(frame, FrameKind::data, "releases a page");
  } else if (oracles_.releases.check_in_use(frame)) {
    take_back(frame);
  }
  machine_.stop_if_failed();
  if (machine_.report().failed()) return;  // in the set-up, which a report does not end
  machine_.record_access(host::place(host::LocationKind::frames), true);
  machine_.record_access(host::place(host::LocationKind::frame, frame), true);
  machine_.frames().release(frame, machine_.step(), machine_.running().id);
}

void ForeignKernel::take_back(std::uint32_t frame) {
  const FrameInfo& info = machine_.frames().info(frame);
  if (!is_attached(frame)) return;
  if (info.kind == FrameKind::table) {
    if (owner_level(info.owner) == 4 && owner_mm(info.owner) != kKernelMm) {
      oracles_.truth.on_destroy(owner_mm(info.owner));
      oracles_.contents.on_destroy(owner_mm(info.owner));
    }
    oracles_.tables.on_release(frame);
    return;
  }
  oracles_.truth.record_page_accesses();
  oracles_.releases.on_page_release(frame);
  oracles_.contents.on_page_release(frame);
}

// ---- What oracles ask

std::uint64_t ForeignKernel::leaf(unsigned mm, unsigned page) const {
  const VirtAddr address = fuzz::probe_address(page);
  std::uint32_t table = FramePool::frame_at(root(mm));
  for (unsigned level = 4; table != FramePool::kNoFrame; --level) {
    const std::uint64_t entry = machine_.memory().seen_by(
        machine_.running(), machine_.frames().words(table) + host::table_index(address, level));
    if ((entry & kPtePresent) == 0) return 0;
    if (level == 1) return entry;
    table = FramePool::frame_at(entry);
  }
  return 0;
}

void ForeignKernel::check_loaded(CpuId cpu, After after) {
  if (oracles_.truth.cpu(cpu).mm == kNoMm) return;
  oracles_.tables.on_loaded(cpu);
  oracles_.flushes.on_loaded(cpu, after);
}

}  // namespace shootdown::port
