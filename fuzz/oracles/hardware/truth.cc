#include "fuzz/oracles/hardware/truth.h"

#include <utility>

#include "fuzz/oracles/reports/names.h"
#include "hal/host/device.h"
#include "hal/host/hypervisor.h"
#include "hal/host/walk.h"

namespace shootdown::fuzz {

using host::Event;
using host::FrameInfo;
using host::FramePool;
using host::kPteDirty;
using host::kPteLarge;
using host::kPteNoExecute;
using host::kPtePresent;
using host::kPteUser;
using host::kPteWritable;
using host::Provenance;
using host::TlbEntry;

namespace {

/// Whether a translation made from `before` may do what `after` does not grant, or does unseen what
/// `after` would record. Not the memory manager's own rule: that one is judged, too.
bool is_weaker(std::uint64_t before, std::uint64_t after) {
  if ((before & kPtePresent) == 0) return false;
  if ((after & kPtePresent) == 0) return true;
  if (FramePool::frame_at(before) != FramePool::frame_at(after)) return true;
  if (((before ^ after) & kPteLarge) != 0) return true;
  if ((~before & after & kPteNoExecute) != 0) return true;
  return (before & ~after & (kPteWritable | kPteUser | kPteDirty)) != 0;
}

bool is_table(std::uint64_t entry) {
  return (entry & kPtePresent) != 0 && (entry & kPteLarge) == 0;
}

}  // namespace

void Truth::start(const KernelView& kernel, unsigned mms) {
  kernel_ = &kernel;
  mms_ = mms;
  for (unsigned i = 0; i < mms; ++i) {
    mm_[i].life = 1;
    mm_[i].pages.fill({});
  }
  kernel_pages_.fill({});
  kernel_stores_.fill(0);
  kernel_version_in_memory_.fill(0);
  unhooked_.fill({});
  cpu_.fill({});
  changed_.fill({});
  walked_by_device_ = FramePool::kNoFrame;
}

const Truth::Page& Truth::page_behind(const TlbEntry& entry, unsigned page) const {
  if (entry.from.mm == kKernelMm) return kernel_pages_[page];
  return mm_[entry.from.mm].pages[page];
}

// ---- CPUs

void Truth::on_cr3(CpuId cpu) {
  const std::uint32_t root = FramePool::frame_at(machine_.cpu(cpu).cr3);
  cpu_[cpu].mm = kNoMm;
  cpu_[cpu].on_user_root = false;
  if (root == FramePool::kNoFrame) return;
  const std::uint16_t owner = machine_.frames().info(root).owner;
  if (owner_mm(owner) != kKernelMm) cpu_[cpu].mm = owner_mm(owner);
  cpu_[cpu].on_user_root = owner_level(owner) == kUserRootLevel;
}

void Truth::on_offline(CpuId cpu, bool offline) {
  machine_.record_access(place(Ghost::cpu, cpu), true);
  cpu_[cpu].offline = offline;
}

bool Truth::may_use_user_addresses(CpuId cpu) const {
  if (cpu_[cpu].in_switch || cpu_[cpu].offline || !kernel_->may_use_user_memory(cpu)) return false;
  if (machine_.hypervisor().will_flush(machine_.cpu(cpu))) return false;
  const bool on_user_pcid = (machine_.cpu(cpu).pcid() & kUserPcidBit) != 0;
  return !on_user_pcid || kernel_->in_user_mode(cpu);
}

// ---- Page tables

void Truth::on_table_write(const std::uint64_t* word, std::uint64_t before, std::uint64_t after) {
  if (!is_weaker(before, after)) return;
  const std::uint32_t frame = machine_.frames().frame_of(word);
  const FrameInfo& info = machine_.frames().info(frame);
  const unsigned level = owner_level(info.owner);
  if (level > 2) {
    note_unhooked(FramePool::frame_at(before), 0, /*is_page_table=*/false);
    return;
  }
  const unsigned mm = owner_mm(info.owner);
  const VirtAddr address = mapped_by(info.owner, machine_.frames().words(frame), word);
  if (level == 2 && is_table(before)) {
    on_table_unhooked(mm, address, FramePool::frame_at(before));
  } else if (page_of(address) != kPages) {
    on_entry_changed(mm, page_of(address));
  }
}

void Truth::on_entry_changed(unsigned mm, unsigned page) {
  changed_[machine_.running().id] = {.mm = mm, .page = page};
  machine_.record_access(version_place(mm, page), true);
  ++mm_[mm].pages[page].version;
}

void Truth::on_kernel_entry_changed(unsigned page) {
  machine_.record_access(kernel_version_place(page), true);
  ++kernel_pages_[page].version;
  if (kernel_stores_[page] == 0) kernel_version_in_memory_[page] = kernel_pages_[page].version;
}

void Truth::on_kernel_entry_store(unsigned page) {
  machine_.record_access(kernel_version_place(page), true);
  ++kernel_stores_[page];
  kernel_store_cpu_[page] = machine_.running().id;
}

void Truth::on_entry_stored(const std::uint64_t* word, std::uint64_t before, std::uint64_t after) {
  const std::uint32_t frame = machine_.frames().frame_of(word);
  const std::uint16_t owner = machine_.frames().info(frame).owner;
  if (owner_mm(owner) != kKernelMm) return on_table_write(word, before, after);
  const auto index = static_cast<std::size_t>(word - machine_.frames().words(frame));
  for (unsigned page = 0; page < kKernelPages; ++page) {
    if (host::table_index(kernel_address(page), 1) != index) continue;
    machine_.record_access(kernel_version_place(page), true);
    if (--kernel_stores_[page] == 0) kernel_version_in_memory_[page] = kernel_pages_[page].version;
  }
}

void Truth::note_unhooked(std::uint32_t table, VirtAddr region, bool is_page_table) {
  // What a walk finds through an old pointer to the table counts as old from here on.
  machine_.record_access(host::place(host::LocationKind::frame, table), true);
  unhooked_[table] = {.life = machine_.frames().info(table).life,
                      .step = machine_.step(),
                      .region = region,
                      .is_page_table = is_page_table};
}

bool Truth::is_unhooked(std::uint32_t table) const {
  return unhooked_[table].life == machine_.frames().info(table).life;
}

void Truth::on_table_unhooked(unsigned mm, VirtAddr region, std::uint32_t table) {
  note_unhooked(table, region, /*is_page_table=*/true);
  const std::uint64_t* words = machine_.frames().words(table);
  for (unsigned page = 0; page < kPages; ++page) {
    const VirtAddr address = probe_address(page);
    if (address >> kLargePageShift != region >> kLargePageShift) continue;
    const std::uint64_t entry = words[(address >> kPageShift) % FramePool::kWords];
    if ((entry & kPtePresent) == 0) continue;
    Page& state = mm_[mm].pages[page];
    state.before_unhook = state.version;
    on_entry_changed(mm, page);
  }
}

void Truth::on_destroy(unsigned mm) {
  ++mm_[mm].life;
  for (Page& page : mm_[mm].pages) page.demand = {};
}

// ---- Walks and demands

unsigned Truth::mm_walked_by(CpuId walker) const {
  return walker == host::kDevice ? machine_.device().walked_context() : cpu_[walker].mm;
}

void Truth::on_walk(CpuId walker, std::uint32_t table) {
  (walker == host::kDevice ? walked_by_device_ : cpu_[walker].walked) = table;
}

void Truth::on_fill(CpuId walker, VirtAddr address, Provenance& from) const {
  const unsigned mm = mm_walked_by(walker);
  const unsigned page = page_of(address);
  const unsigned kernel_page = kernel_page_of(address);
  from.step = machine_.step();
  if (kernel_page != kKernelPages || page != kPages) {
    machine_.record_access(
        kernel_page != kKernelPages ? kernel_version_place(kernel_page) : version_place(mm, page),
        false);
  }
  if (kernel_page != kKernelPages) {
    from.mm = kKernelMm;
    from.version = kernel_version_in_memory_[kernel_page];
    return;
  }
  if (mm == kNoMm || page == kPages) return;
  from.mm = static_cast<std::uint16_t>(mm);
  from.life = mm_[mm].life;
  const Page& state = mm_[mm].pages[page];
  const std::uint32_t walked = walker == host::kDevice ? walked_by_device_ : cpu_[walker].walked;
  from.version = is_unhooked(walked) ? state.before_unhook : state.version;
}

void Truth::demand(unsigned mm, unsigned page, const Demand& demand) {
  Demand& last = mm_[mm].pages[page].demand;
  if (demand.version > last.version) last = demand;
}

void Truth::demand_of_kernel(unsigned page, const Demand& demand) {
  Demand& last = kernel_pages_[page].demand;
  if (demand.version > last.version) last = demand;
}

bool Truth::is_outdated(const TlbEntry& entry, unsigned page) const {
  // Only what is outdated can break a demand, so only then does it matter when demands are made.
  machine_.record_access(
      entry.from.mm == kKernelMm ? kernel_version_place(page) : version_place(entry.from.mm, page),
      false);
  if (entry.from.version >= page_behind(entry, page).version) return false;
  machine_.record_access(place(Ghost::demands), true);
  return true;
}

// ---- Exhaustive search

host::Location Truth::version_place(unsigned mm, unsigned page) {
  static_assert((kMaxMms + 2) * kPages <= 256);
  return place(Ghost::version, ((mm % (kMaxMms + 2)) * kPages) + page);
}

void Truth::record_page_access(unsigned page) const {
  if (!machine_.controlled().is_on()) return;
  for (CpuId cpu = 0; cpu < machine_.cpu_count(); ++cpu) {
    machine_.record_access(host::place(host::LocationKind::drops, cpu), false);
    machine_.record_access(host::dropped(cpu, numbered_address(page)), false);
  }
}

void Truth::record_page_accesses() const {
  for (unsigned page = 0; page < kPages + kKernelPages; ++page) record_page_access(page);
}

void Truth::record_cpu_access(CpuId cpu) const {
  if (!machine_.controlled().is_on()) return;
  machine_.record_access(host::place(host::LocationKind::root, cpu), false);
  machine_.record_access(place(Ghost::cpu, cpu), false);
  if (machine_.setup().hardware.backend != host::Backend::kvm) return;
  machine_.record_access(host::place(host::LocationKind::processor, cpu), false);
  machine_.record_access(&machine_.hypervisor().vcpu_state(cpu), false);
}

// ---- Reports

void Truth::fail(Oracle oracle, std::string title, std::string detail, Event first,
                 Event second) const {
  machine_.report_failure({.kind = kind_of(oracle),
                           .title = std::move(title),
                           .detail = std::move(detail),
                           .first = std::move(first),
                           .second = std::move(second)});
}

Event Truth::event(CpuId cpu, std::string what) const {
  return {.step = machine_.step(), .cpu = cpu, .what = std::move(what)};
}

Event Truth::change_event(const FrameInfo& info, std::string what) {
  if (info.changed_at == host::kBeforeRun) return {};
  return {.step = info.changed_at, .cpu = info.changed_by, .what = std::move(what)};
}

Event Truth::fill_event(CpuId cpu, const TlbEntry& entry) const {
  return {
      .step = entry.from.step,
      .cpu = cpu,
      .what = (entry.from.speculative ? "speculatively cached " : "cached ") + entry_name(entry)};
}

std::string Truth::entry_name(const TlbEntry& entry) const {
  const VirtAddr address = entry.page << entry.shift;
  if (entry.from.mm == kKernelMm) return kernel_page_name(kernel_page_of(address));
  return page_name(page_of(address)) + " of " + origin_name(entry.from);
}

std::string Truth::owner_name(unsigned mm) const {
  return mm < mms_ ? mm_name(mm) : "the kernel's mm";
}

std::string Truth::origin_name(const Provenance& from) const {
  if (from.mm >= mms_) return "the kernel";
  if (from.life == 0) return "no mm";
  return (from.life == mm_[from.mm].life ? "" : "an earlier ") + mm_name(from.mm);
}

const char* Truth::same_pcid() const {
  return machine_.setup().hardware.pcid ? " under the same PCID" : "";
}

const char* older_than(const Demand& demand) {
  return demand.by == Demand::By::operation ? "older than a completed operation"
                                            : "older than a completed flush";
}

std::string made_by(const Demand& demand) {
  static constexpr const char* kWhat[] = {"'s flush of it returned",
                                          "'s flush of a batch that it is in returned",
                                          "'s operation that promises its flush was complete"};
  return cpu_name(demand.cpu) + kWhat[static_cast<unsigned>(demand.by)] + " at step " +
         std::to_string(demand.step);
}

}  // namespace shootdown::fuzz
