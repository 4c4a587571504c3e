// What the kernel around foreign code tells to the oracles: what the machine did, what became of
// frames and of their words, and what the core's flushes and switches promise.
#include <string>

#include "core/shootdown_all.h"
#include "fuzz/oracles/reports/names.h"
#include "hal/host/walk.h"
#include "kernel-glue/embed/port/kernel.h"

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

// ---- The machine

void PortKernel::on_cr3(CpuId cpu) {
  oracles_.truth.on_cr3(cpu);
  oracles_.roots.on_cr3(cpu);
}

void PortKernel::on_fill(CpuId cpu, VirtAddr address, host::Provenance& from) {
  oracles_.truth.on_fill(cpu, address, from);
}

bool PortKernel::on_walk(CpuId cpu, std::uint32_t frame, std::uint32_t life) {
  return oracles_.tables.on_walk(cpu, frame, life);
}

void PortKernel::on_use(CpuId cpu, VirtAddr address, const host::TlbEntry& entry, bool write) {
  if (oracles_.use.on_use(cpu, address, entry)) {
    oracles_.contents.on_use(cpu, address, entry, write);
  }
}

void PortKernel::on_page_store(CpuId cpu, VirtAddr address, const host::TlbEntry& entry,
                               std::uint32_t life) {
  oracles_.use.on_page_store(cpu, address, entry, life);
}

void PortKernel::on_entry_stored(CpuId cpu, const std::uint64_t* word, bool is_there,
                                 std::uint64_t value) {
  // Stores leave the buffer in the order in which they came.
  const bool told = waiting_[cpu].front();
  waiting_[cpu].pop_front();
  const std::uint32_t frame = machine_.frames().frame_of(word);
  if (told) oracles_.contents.on_store_arrives(word);
  if (!is_there) {
    oracles_.releases.on_late_entry_store(cpu, frame);
  } else if (is_attached(frame)) {
    oracles_.truth.on_table_write(word, *word, value);
  }
}

std::string PortKernel::label(const void* address) {
  const auto value = reinterpret_cast<std::uintptr_t>(address);
  if (fuzz::page_of(value) != fuzz::kPages) return fuzz::page_name(fuzz::page_of(value));
  const auto* word = reinterpret_cast<const std::uint64_t*>(value & ~std::uintptr_t{7});
  const std::uint32_t frame = machine_.frames().frame_of(word);
  if (frame != FramePool::kNoFrame) {
    static constexpr const char* kNames[] = {"page", "table", "directory", "upper", "root"};
    const std::uint16_t owner = machine_.frames().info(frame).owner;
    const unsigned level = owner_level(owner);
    const std::string whose = !is_attached(frame) && level == 0 ? "frame " + std::to_string(frame)
                              : owner_mm(owner) == kKernelMm
                                  ? std::string("kernel.") + kNames[level % 5]
                                  : fuzz::mm_name(owner_mm(owner)) + "." + kNames[level % 5];
    return whose + "[" + std::to_string(word - machine_.frames().words(frame)) + "]";
  }
  if (std::string name = core_name(address); !name.empty()) return name;
  if (code_.holds(address)) return code_.name_of(address);
  return "word " + std::to_string(value % 4096);
}

/// A word of the core's, in the storage that the code has for it; or empty.
std::string PortKernel::core_name(const void* address) const {
  std::string name;
  const auto look = [&](const std::string& text, const auto& word) {
    if (static_cast<const void*>(&word) == address) name = text;
  };
  for (unsigned mm = 0; mm < scenario_->header.mms; ++mm) {
    if (spaces_[mm].mm == nullptr) continue;
    reinterpret_cast<Mm<host::HostHal>*>(spaces_[mm].mm)
        ->visit_shared(
            [&](const char* field, auto& word) { look(fuzz::mm_name(mm) + "." + field, word); });
  }
  // It is the first member of what an sd_system holds.
  auto& system = *reinterpret_cast<System<host::HostHal>*>(functions_.system());
  for (CpuId cpu = 0; cpu < machine_.cpu_count(); ++cpu) {
    look(fuzz::cpu_name(cpu) + ".is_lazy", system.cpus[cpu].shared.is_lazy);
    look(fuzz::cpu_name(cpu) + ".loaded_mm", system.cpus[cpu].own.loaded_mm);
  }
  return name;
}

// ---- Frames

bool PortKernel::is_attached(std::uint32_t frame) const {
  const FrameInfo& info = machine_.frames().info(frame);
  return info.kind == FrameKind::data || owner_level(info.owner) != 0;
}

bool PortKernel::is_shared(std::uint32_t frame) {
  const FrameInfo& info = machine_.frames().info(frame);
  return is_attached(frame) && oracles_.truth.unhooked(frame).life != info.life;
}

void PortKernel::on_use(std::uint32_t frame, const char* verb) {
  if (frame != FramePool::kNoFrame && machine_.frames().info(frame).kind != FrameKind::free) {
    return;
  }
  oracles_.releases.on_software_use(frame, FrameKind::table, verb);
}

std::uint64_t PortKernel::allocate() {
  const std::uint32_t frame = machine_.frames().allocate(FrameKind::table, owner_tag(kKernelMm, 0),
                                                         machine_.step(), machine_.running().id);
  if (frame == FramePool::kNoFrame) {
    machine_.reach(host::Limit::frames);
    return 0;
  }
  return FramePool::address(frame);
}

std::uint64_t PortKernel::kernel_root() { return FramePool::address(kernel_root_); }

void PortKernel::attach(std::uint32_t frame, std::uint64_t entry, std::uint32_t above,
                        unsigned index) {
  const std::uint16_t owner = machine_.frames().info(above).owner;
  const unsigned level = owner_level(owner) - 1;
  const unsigned mm = owner_mm(owner);
  const VirtAddr address = base_[above] + (VirtAddr{index} << (kPageShift + (9 * level)));
  if (level == 0 || (entry & kPteLarge) != 0) {
    const unsigned page = fuzz::page_of(address);
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

void PortKernel::scan(std::uint32_t table) {
  const std::uint64_t* words = machine_.frames().words(table);
  for (unsigned index = 0; index < FramePool::kWords; ++index) {
    const std::uint64_t entry = machine_.memory().seen_by(machine_.running(), words + index);
    if ((entry & kPtePresent) == 0) continue;
    const std::uint32_t frame = FramePool::frame_at(entry);
    if (frame != FramePool::kNoFrame && !is_attached(frame)) attach(frame, entry, table, index);
  }
}

void PortKernel::on_word(std::uint64_t* word, std::uint64_t before, std::uint64_t after,
                         bool buffered) {
  const std::uint32_t table = machine_.frames().frame_of(word);
  const bool waits = buffered && machine_.observer() != nullptr;
  const FrameInfo& info = machine_.frames().info(table);
  const bool known = info.kind == FrameKind::table && owner_level(info.owner) != 0 &&
                     owner_mm(info.owner) != kKernelMm;
  if (waits) waiting_[machine_.running().id].push_back(known);
  if (!known) return;
  const std::uint32_t below = FramePool::frame_at(after);
  if ((after & kPtePresent) != 0 && below != FramePool::kNoFrame && !is_attached(below)) {
    attach(below, after, table, static_cast<unsigned>(word - machine_.frames().words(table)));
  }
  if (waits) {
    oracles_.contents.on_table_write(word);
    oracles_.contents.on_store_waits();
  } else {
    oracles_.truth.on_table_write(word, before, after);
    oracles_.contents.on_table_write(word);
  }
}

void PortKernel::release(std::uint64_t address) {
  const std::uint32_t frame = FramePool::frame_at(address);
  if (frame == FramePool::kNoFrame) {
    oracles_.releases.on_software_use(frame, FrameKind::data, "releases a page");
  } else if (oracles_.releases.check_in_use(frame)) {
    take_back(frame);
  }
  machine_.stop_if_failed();
  if (machine_.report().failed()) return;  // in the set-up, which a report does not end
  machine_.frames().release(frame, machine_.step(), machine_.running().id);
}

void PortKernel::take_back(std::uint32_t frame) {
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
  oracles_.releases.on_page_release(frame);
  oracles_.contents.on_page_release(frame);
}

// ---- The core's flushes and switches

void PortKernel::on_trace(CpuId cpu, const TraceEvent& event) {
  switch (event.kind) {
    case TraceKind::flush_asked:
      asked(cpu) = {.start = event.value, .end = event.value2, .step = machine_.step()};
      break;
    case TraceKind::flush_begin:
      begin_flush(cpu, event);
      break;
    case TraceKind::flush_end:
      end_flush(cpu, event);
      break;
    case TraceKind::batch_add:
      oracles_.promises.on_batch_add(cpu);
      break;
    case TraceKind::batch_end:
      oracles_.promises.on_batch_returned(cpu);
      break;
    case TraceKind::switch_begin:
      oracles_.truth.on_switch(cpu, /*begins=*/true);
      break;
    case TraceKind::switch_end:
      oracles_.truth.on_switch(cpu, /*begins=*/false);
      oracles_.flushes.on_kernel_loaded(cpu);
      check_loaded(cpu, After::switch_in);
      break;
    case TraceKind::handler_end:
      check_loaded(cpu, After::handler);
      break;
    default:
      break;
  }
}

void PortKernel::begin_flush(CpuId cpu, const TraceEvent& event) {
  Flush& flush = flush_[cpu];
  flush.mm = mm_of(event.mm);
  flush.begin = machine_.step();
  if (flush.mm != kNoMm) oracles_.flushes.on_flush_begun(cpu, flush.mm, flush.asked);
}

void PortKernel::end_flush(CpuId cpu, const TraceEvent& event) {
  const Flush& flush = flush_[cpu];
  if (flush.mm == kNoMm) return;
  const auto& request = *static_cast<const FlushRequest<host::HostHal>*>(event.request);
  oracles_.flushes.on_flush_returns(cpu);
  oracles_.flushes.on_flush_returned(cpu, /*early=*/false);
  if (request.frees_tables) {
    oracles_.tables.on_flush_returned(cpu, flush.mm, request.start, request.end, flush.begin);
  }
}

void PortKernel::check_loaded(CpuId cpu, After after) {
  if (oracles_.truth.cpu(cpu).mm == kNoMm) return;
  oracles_.tables.on_loaded(cpu);
  oracles_.flushes.on_loaded(cpu, after);
}

}  // namespace shootdown::port
