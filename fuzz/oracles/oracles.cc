// The oracles' frame, what the simulated kernel tells them, and the use-time family.
#include "fuzz/oracles/oracles.h"

#include <string_view>
#include <utility>

#include "fuzz/kernel/guest.h"
#include "fuzz/oracles/names.h"
#include "hal/host/device.h"
#include "hal/host/hypervisor.h"

namespace shootdown::fuzz {

using host::Event;
using host::FrameInfo;
using host::FrameKind;
using host::FramePool;
using host::HostCpu;
using host::Oracle;
using host::Provenance;
using host::Report;
using host::TlbEntry;

void Oracles::prepare(Guest& guest, unsigned spaces) {
  guest_ = &guest;
  spaces_ = spaces;
  for (unsigned i = 0; i < spaces; ++i) {
    SpaceGhost& ghost = space_[i];
    ghost.life = 1;
    ghost.last_generation = kFirstGeneration;
    for (PageGhost& page : ghost.pages) {
      page.version = 0;
      page.demand = {};
      page.log_size = 0;
      page.before_unhook = 0;
    }
    guest.space(i).mm.cpus.visit_shared([&](const char*, auto& word) { mask_words_[i] = &word; });
  }
  for (PageGhost& page : kernel_) {
    page.version = 0;
    page.demand = {};
  }
  for (CpuGhost& ghost : cpu_) {
    ghost.batch.size = 0;
    ghost.promise.size = 0;
    ghost.cleaning = 0;
    ghost.tally = {};
    ghost.flush.request = nullptr;
    ghost.flush.queued = ghost.flush.called = ghost.flush.to_interrupt = {};
    ghost.in_switch = ghost.in_handler = ghost.lazy = ghost.offline = false;
    ghost.space = kNoSpace;
    ghost.on_user_root = false;
    ghost.walker_table = ghost.walked = FramePool::kNoFrame;
    ghost.operation = OpKind::map;
    ghost.lookup.active = false;
  }
  unhooked_.fill({});
  clock_ = 0;
  for (auto& pages : mapping_) pages.fill({});
  if (machine_.memory().reorders()) {
    order_ = {};
    used_ = {};
    grants_ = {};
    bumps_ = {};
  }
  flushing_ = kernel_flushing_ = {};
  slots_in_use_ = slots_dirty_ = 0;
}

void Oracles::fail(Oracle oracle, std::string title, std::string detail, Event first,
                   Event second) {
  Report report{.oracle = oracle,
                .title = std::move(title),
                .detail = std::move(detail),
                .first = std::move(first),
                .second = std::move(second)};
  machine_.report_failure(std::move(report));
}

host::Place Oracles::version_place(unsigned space, unsigned page) {
  static_assert((kMaxMms + 2) * kPages <= 256);
  return host::place(host::Part::version, ((space % (kMaxMms + 2)) * kPages) + page);
}

void Oracles::touch_page(unsigned page) const {
  if (!machine_.controlled().is_on()) return;
  for (CpuId cpu = 0; cpu < machine_.cpu_count(); ++cpu) {
    machine_.touch(host::place(host::Part::drops, cpu), false);
    machine_.touch(host::dropped(cpu, numbered_address(page)), false);
  }
}

void Oracles::touch_pages() const {
  for (unsigned page = 0; page < kPages + kKernelPages; ++page) touch_page(page);
}

void Oracles::touch_cpu(CpuId cpu) const {
  if (!machine_.controlled().is_on()) return;
  machine_.touch(host::place(host::Part::root, cpu), false);
  machine_.touch(host::place(host::Part::ghost, cpu), false);
  machine_.touch(&guest_->system().cpus[cpu].shared.is_lazy, false);
  if (machine_.setup().hardware.backend != host::Backend::kvm) return;
  machine_.touch(host::place(host::Part::processor, cpu), false);
  machine_.touch(&machine_.hypervisor().vcpu_state(cpu), false);
}

bool Oracles::is_outdated(const TlbEntry& entry, unsigned page) {
  // Only what is outdated can break a demand, so only then does it matter when demands are made.
  const bool kernel = entry.from.space == kKernelSpace;
  machine_.touch(version_place(kernel ? kMaxMms + 1 : entry.from.space, page), false);
  const PageGhost& ghost = kernel ? kernel_[page] : space_[entry.from.space].pages[page];
  if (entry.from.version >= ghost.version) return false;
  machine_.touch(host::place(host::Part::demands), true);
  return true;
}

Event Oracles::event(CpuId cpu, std::string what) const {
  return {.step = machine_.step(), .cpu = cpu, .what = std::move(what)};
}

Event Oracles::fill_event(CpuId cpu, const TlbEntry& entry) const {
  return {
      .step = entry.from.step,
      .cpu = cpu,
      .what = (entry.from.speculative ? "speculatively cached " : "cached ") + entry_name(entry)};
}

std::string Oracles::entry_name(const TlbEntry& entry) const {
  const VirtAddr address = entry.page << entry.shift;
  if (entry.from.space == kKernelSpace) return kernel_page_name(kernel_page_of(address));
  return page_name(page_of(address)) + " of " + origin_name(entry.from);
}

std::string Oracles::space_name(unsigned space) const {
  return space < spaces_ ? mm_name(space) : "the kernel's space";
}

std::string Oracles::origin_name(const Provenance& from) const {
  if (from.space >= spaces_) return "the kernel";
  if (from.life == 0) return "no space";
  return (from.life == space_[from.space].life ? "" : "an earlier ") + mm_name(from.space);
}

const char* Oracles::same_pcid() const {
  return machine_.setup().hardware.pcid ? " under the same PCID" : "";
}

const char* Oracles::older_than(const Demand& demand) {
  return demand.by == By::operation ? "older than a completed operation"
                                    : "older than a completed flush";
}

std::string Oracles::made_by(const Demand& demand) {
  static constexpr const char* kWhat[] = {"'s flush of it returned",
                                          "'s flush of a batch that it is in returned",
                                          "'s operation that promises its flush was complete"};
  return cpu_name(demand.cpu) + kWhat[static_cast<unsigned>(demand.by)] + " at step " +
         std::to_string(demand.step);
}

unsigned Oracles::space_of(const void* mm) const {
  const auto first = reinterpret_cast<std::uintptr_t>(&guest_->space(0).mm);
  const std::uintptr_t offset = reinterpret_cast<std::uintptr_t>(mm) - first;
  const std::uintptr_t index = offset / sizeof(GuestMm);
  return index < spaces_ ? static_cast<unsigned>(index) : kNoSpace;
}

std::uint64_t Oracles::mask_word(unsigned space) const { return mask_words_[space]->peek(); }

bool Oracles::uses_user_half(CpuId cpu) const {
  const CpuGhost& ghost = cpu_[cpu];
  if (ghost.in_switch || ghost.offline ||
      guest_->system().cpus[cpu].shared.is_lazy.seen_by(machine_.cpu(cpu))) {
    return false;
  }
  if (machine_.hypervisor().will_flush(machine_.cpu(cpu))) return false;
  const bool on_twin = (machine_.pcid_of(machine_.cpu(cpu).cr3) & kUserPcidBit) != 0;
  return !on_twin || guest_->in_user_mode(cpu);
}

bool Oracles::is_stale_at(const TlbEntry& entry, Generation generation) const {
  const unsigned page = page_of(entry.page << entry.shift);
  const PageGhost& ghost = space_[entry.from.space].pages[page];
  for (unsigned i = ghost.log_size; i-- > 0;) {
    if (ghost.log[i].generation <= generation) return ghost.log[i].version > entry.from.version;
  }
  return false;
}

// ---- The simulated kernel's events
// ----------------------------------------------------------------

void Oracles::on_kernel_entry_changed(unsigned page) {
  machine_.touch(version_place(kMaxMms + 1, page), true);
  ++kernel_[page].version;
}

void Oracles::note_log(unsigned space, unsigned page, Generation generation) {
  PageGhost& ghost = space_[space].pages[page];
  if (ghost.log_size == kLogDepth) return;
  ghost.log[ghost.log_size++] = {.generation = generation, .version = ghost.version};
}

void Oracles::on_temporary_begin(CpuId cpu) {
  const CpuState<host::HostHal>& state = guest_->system().cpus[cpu];
  cpu_[cpu].before_temporary = state.own.loaded_mm.seen_by(machine_.cpu(cpu));
  cpu_[cpu].lazy_before_temporary = state.shared.is_lazy.seen_by(machine_.cpu(cpu));
}

void Oracles::on_temporary_end(CpuId cpu) {
  const CpuState<host::HostHal>& state = guest_->system().cpus[cpu];
  const void* expected = cpu_[cpu].lazy_before_temporary
                             ? static_cast<const void*>(&guest_->system().kernel_mm)
                             : cpu_[cpu].before_temporary;
  const bool back = state.own.loaded_mm.seen_by(machine_.cpu(cpu)) == expected &&
                    !state.shared.is_lazy.seen_by(machine_.cpu(cpu));
  const bool in_mask = ((mask_word(guest_->temporary_space()) >> cpu) & 1) != 0;
  if (back && !in_mask) return;
  const bool lazy = state.shared.is_lazy.seen_by(machine_.cpu(cpu));
  const char* what = " has another space loaded than before.";
  if (cpu_[cpu].lazy_before_temporary) what = " was lazy before, and has no kernel space loaded.";
  if (lazy) what = " is lazy, and uses the space that it has loaded.";
  if (in_mask) what = " is still in the temporary space's mask.";
  fail(Oracle::o25, "a temporary space does not end as it began", cpu_name(cpu) + what, {},
       event(cpu, "leaves the temporary space"));
}

void Oracles::on_offline(CpuId cpu) {
  machine_.touch(host::place(host::Part::ghost, cpu), true);
  cpu_[cpu].offline = true;
}

void Oracles::on_bring_up(CpuId cpu) {
  cpu_[cpu].bring_up = machine_.step();
  cpu_[cpu].bring_up_flushes = begin_uncounted(cpu);
}

void Oracles::on_online(CpuId cpu) {
  machine_.touch(host::place(host::Part::ghost, cpu), true);
  CpuGhost& ghost = cpu_[cpu];
  ghost.offline = false;
  end_uncounted(cpu, ghost.bring_up_flushes);
  // Not an empty TLB: hardware may have walked again since it was emptied. Nor empty slots, where a
  // switch would flush.
  const char* title = "a CPU comes up with old translations";
  const host::Tlb& tlb = machine_.cpu(cpu).tlb;
  for (const TlbEntry& entry : tlb.entries) {
    if (entry.from.step > ghost.bring_up || !trusts(cpu, entry.pcid, entry.global)) continue;
    fail(Oracle::o24, title,
         cpu_name(cpu) + " would use " + entry_name(entry) +
             " without a flush, from before it came up.",
         fill_event(cpu, entry), event(cpu, "comes online"));
    return;
  }
  for (const host::PscEntry& pointer : tlb.psc) {
    if (pointer.from.step > ghost.bring_up || !trusts(cpu, pointer.pcid, /*global=*/false)) {
      continue;
    }
    fail(Oracle::o24, title,
         cpu_name(cpu) + " would walk through a pointer to a table of " +
             origin_name(pointer.from) + " without a flush, from before it came up.",
         {.step = pointer.from.step, .cpu = cpu, .what = "cached the pointer"},
         event(cpu, "comes online"));
    return;
  }
}

bool Oracles::trusts(CpuId cpu, std::uint16_t pcid, bool global) const {
  if (global || !machine_.setup().hardware.pcid) return true;
  const std::uint16_t kernel_half = pcid & static_cast<std::uint16_t>(~kUserPcidBit);
  if (kernel_half == 0) return false;
  const CpuPrivate<host::HostHal>& own = guest_->system().cpus[cpu].own;
  const auto slot = static_cast<Slot>(kernel_half - 1U);
  const bool owed = pcid != kernel_half && ((own.user_flush >> kernel_half) & 1) != 0;
  return !owed && (slot == own.loaded_slot || loads_without_flush(cpu, slot));
}

bool Oracles::loads_without_flush(CpuId cpu, Slot slot) const {
  if (is_global_slot(slot)) return true;
  const CpuPrivate<host::HostHal>& own = guest_->system().cpus[cpu].own;
  const SlotState& state = own.slots[slot];
  if (state.context == kNoContext || own.invalidate_other) return false;
  const auto keeps = [&](const Mm<host::HostHal>& mm) {
    if (mm.context != state.context) return false;
    machine_.touch(&mm.tlb_gen, false);
    return state.generation >= mm.tlb_gen.peek();
  };
  for (unsigned space = 0; space < spaces_; ++space) {
    if (keeps(guest_->space(space).mm)) return true;
  }
  return keeps(guest_->system().kernel_mm);
}

// ---- Use time
// -------------------------------------------------------------------------------------

void Oracles::on_fill(CpuId cpu, VirtAddr address, Provenance& from) {
  const unsigned space = space_walked_by(cpu);
  const unsigned page = page_of(address);
  const unsigned kernel_page = kernel_page_of(address);
  from.step = machine_.step();
  if (kernel_page != kKernelPages || page != kPages) {
    machine_.touch(kernel_page != kKernelPages ? version_place(kMaxMms + 1, kernel_page)
                                               : version_place(space, page),
                   false);
  }
  if (kernel_page != kKernelPages) {
    from.space = kKernelSpace;
    from.version = kernel_[kernel_page].version;
    return;
  }
  if (space == kNoSpace || page == kPages) return;
  from.space = static_cast<std::uint16_t>(space);
  from.life = space_[space].life;
  const PageGhost& ghost = space_[space].pages[page];
  const std::uint32_t walked = cpu == host::kDevice ? walked_by_device_ : cpu_[cpu].walked;
  from.version = is_unhooked(walked) ? ghost.before_unhook : ghost.version;
}

void Oracles::on_use(CpuId cpu, VirtAddr address, const TlbEntry& entry, bool write) {
  if (entry.frame == FramePool::kNoFrame) {
    fail(Oracle::o6, "a CPU uses an entry that names no memory", "There is no such frame.",
         fill_event(cpu, entry), event(cpu, "uses it"));
    return;
  }
  if (machine_.memory().reorders()) note_use(cpu, entry.frame);
  machine_.touch(host::place(host::Part::frame, entry.frame), false);
  const bool kernel = entry.from.space == kKernelSpace;
  const unsigned page = kernel ? kernel_page_of(address) : page_of(address);
  const unsigned space = kernel ? kKernelSpace : cpu_[cpu].space;
  const std::string_view half = kernel ? "kernel page " : "page ";
  const auto use = [&] {
    return event(cpu, "uses it for an access to " + std::string(half) + std::to_string(page));
  };
  if (!kernel && (entry.from.space != space || entry.from.life != space_[space].life)) {
    fail(Oracle::o4, "a CPU uses a translation of another address space",
         cpu_name(cpu) + " runs " + space_name(space) + " but the entry is from " +
             origin_name(entry.from) + ".",
         fill_event(cpu, entry), use());
    return;
  }
  const Demand& demand = kernel ? kernel_[page].demand : space_[space].pages[page].demand;
  const bool outdated = is_outdated(entry, page);
  if (outdated && entry.from.version < demand.version) {
    fail(kernel ? Oracle::o13 : Oracle::o2,
         std::string("a CPU uses a translation ") + older_than(demand),
         cpu_name(cpu) + " cached " + std::string(half) + std::to_string(page) + " at step " +
             std::to_string(entry.from.step) + "; " + made_by(demand) + ".",
         {.step = demand.step,
          .cpu = demand.cpu,
          .what = demand.by == By::operation ? "the operation was complete"
                                             : "the flush of the page returned"},
         use());
  }
  if (machine_.frames().info(entry.frame).kind != FrameKind::data) {
    fail(Oracle::o6, "a CPU uses a frame that was released",
         cpu_name(cpu) + " accesses a dead frame.", fill_event(cpu, entry), use());
  }
  if (!kernel && guest_->system().cpus[cpu].shared.is_lazy.seen_by(machine_.cpu(cpu))) {
    fail(Oracle::o9, "a lazy CPU uses a user address",
         cpu_name(cpu) + " accessed memory without leaving lazy mode.", {}, use());
  }
  if (kernel) return;
  check_content(cpu, space, page, entry, outdated);
  if (write) note_store(space, page, entry, outdated);
}

}  // namespace shootdown::fuzz
