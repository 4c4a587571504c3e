#include "litmus/bench.h"

#include <algorithm>
#include <utility>

#include "hal/host/walk.h"
#include "litmus/run.h"
#include "litmus/text.h"

namespace shootdown::host::litmus {

namespace {

constexpr std::uint64_t kTableBits = kPtePresent | kPteWritable | kPteUser;
constexpr std::uint64_t kFlagBits = kEntryFlags;
constexpr std::uint32_t kMainMm = 1;

}  // namespace

Bench::Bench(const Test& test, unsigned most_repeats)
    : test_(test),
      most_repeats_(most_repeats),
      words_(std::make_unique<HostAtomic<std::uint64_t>[]>(test.locations.size())),
      frame_of_(test.locations.size(), FramePool::kNoFrame),
      entry_of_(test.entries.size(), nullptr),
      walks_(test.speculative_walks()),
      evictions_(test.evictions()),
      threads_(kHostCpus) {
  for (std::size_t i = 0; i < test.locations.size(); ++i) {
    location_at_.emplace(test.locations[i].address, i);
    virtual_memory_ = virtual_memory_ || test.locations[i].place == Place::page;
  }
  virtual_memory_ = virtual_memory_ || !test.initial_mms.empty();
  for (const Column& column : test.columns) {
    columns_[static_cast<std::size_t>(column.role)][column.cpu] = &column;
    has_nmis_ = has_nmis_ || column.role == Role::nmi;
    for (const Instruction& made : column.code) {
      virtual_memory_ = virtual_memory_ || made.op == Op::load_cr3;
      sends_interrupts_ = sends_interrupts_ || made.op == Op::ipi;
    }
  }
  first_mm_.fill(kMainMm);
  for (const auto& [cpu, mm] : test.initial_mms) first_mm_[cpu] = mm;
}

void Bench::prepare(Setup setup) {
  setup.hardware.cpus = test_.cpus;
  setup.hardware.pcid = !test_.says("Pcid", "off");
  setup.hardware.xapic = test_.says("Apic", "xapic");
  setup.hardware.weak_ipi = sends_interrupts_;
  setup.programs.boot = &Bench::boot;
  setup.programs.program = &Bench::program;
  setup.programs.interrupt = &Bench::handler<Role::interrupt>;
  setup.programs.nmi = &Bench::handler<Role::nmi>;
  setup.programs.argument = this;
  setup.observer = virtual_memory_ ? this : nullptr;
  setup.hardware.dirty_races = true;
  setup.hardware.spurious_faults = true;
  setup.exploration.evictions = evictions_;
  for (const auto& [address, level] : walks_) {
    setup.exploration.fills.push_back({.address = address, .level = level});
  }
  for (const ErratumName& one : kErrata) setup.errata.*one.is_on = test_.lists("Errata", one.name);
  for (const LatitudeName& one : kLatitudes) {
    setup.hardware.*one.is_on = test_.lists("Hardware", one.name);
  }
  if (has_nmis_) setup.exploration.nmis.push_back(0);
  machine_.prepare(setup);
  for (CpuId cpu = 0; cpu < test_.cpus; ++cpu) {
    if (columns_[static_cast<std::size_t>(Role::nmi)][cpu] == nullptr) {
      machine_.cpu(cpu).nmis_left = 0;
    }
  }
  cut_ = false;
  other_path_ = false;
  gave_up_at_ = nullptr;
  faults_ = {};
  general_protections_ = {};
  for (CpuId cpu = 0; cpu < test_.cpus; ++cpu) threads_[cpu] = {};
  for (const InitialRegister& initial : test_.registers) {
    threads_[initial.cpu].registers[initial.number] = static_cast<std::uint64_t>(initial.value);
  }
  for (std::size_t i = 0; i < test_.locations.size(); ++i) {
    const Location& location = test_.locations[i];
    words_[i].poke(sign_extended(static_cast<std::uint64_t>(location.initial), location.width));
  }
  if (virtual_memory_) make_tables();
}

std::uint32_t Bench::new_frame(FrameKind kind) { return machine_.frames().allocate(kind, 0, 0, 0); }

/// The entry for `address` at `level`; tables on the way are made.
std::uint64_t* Bench::walk_to(std::uint64_t address, std::uint32_t mm, unsigned level) {
  if (roots_[mm] == FramePool::kNoFrame) roots_[mm] = new_frame(FrameKind::table);
  FramePool& frames = machine_.frames();
  std::uint32_t table = roots_[mm];
  for (unsigned at = machine_.top_level(); at > level; --at) {
    std::uint64_t& entry = frames.words(table)[table_index(address, at)];
    if (entry == 0) entry = FramePool::address(new_frame(FrameKind::table)) | kTableBits;
    table = FramePool::frame_at(entry);
  }
  return &frames.words(table)[table_index(address, level)];
}

std::uint64_t* Bench::word_of(const Entry& entry) {
  const std::uint64_t address = test_.locations[entry.page].address;
  if (entry.table != kNone) {
    return &machine_.frames().words(frame_of_[entry.table])[table_index(address, 1)];
  }
  return walk_to(address, entry.mm, entry.level);
}

void Bench::make_tables() {
  roots_.fill(FramePool::kNoFrame);
  for (std::size_t i = 0; i < test_.locations.size(); ++i) {
    const Location& location = test_.locations[i];
    if (location.place == Place::frame) {
      frame_of_[i] = new_frame(FrameKind::data);
      machine_.frames().words(frame_of_[i])[0] = static_cast<std::uint64_t>(location.initial);
    } else if (location.place == Place::table && !location.is_of_start()) {
      frame_of_[i] = new_frame(FrameKind::table);
    }
  }
  // The tables that all pages of mm 1 are in at first have names too.
  for (std::size_t i = 0; i < test_.locations.size(); ++i) {
    const Location& location = test_.locations[i];
    if (location.place != Place::table || !location.is_of_start()) continue;
    const unsigned level = location.name == "main" ? 1 : 2;
    frame_of_[i] = machine_.frames().frame_of(walk_to(kFirstAddress, kMainMm, level));
  }
  for (CpuId cpu = 0; cpu < test_.cpus; ++cpu) walk_to(kFirstAddress, first_mm_[cpu], 1);
  for (const Column& column : test_.columns) {
    for (const Instruction& made : column.code) {
      if (made.op != Op::load_cr3) continue;
      walk_to(kFirstAddress, static_cast<std::uint32_t>(made.operands[0].value), 1);
    }
  }
  // Leaf entries first: an upper entry may lead elsewhere afterwards.
  for (unsigned level = 1; level <= machine_.top_level(); ++level) {
    for (std::size_t i = 0; i < test_.entries.size(); ++i) {
      if (test_.entries[i].level != level) continue;
      entry_of_[i] = word_of(test_.entries[i]);
      // An upper entry without an initial value stays as the tables need it.
      if (test_.entries[i].initial != 0) *entry_of_[i] = to_machine(test_.entries[i].initial);
    }
  }
}

/// Entries name frames by the addresses of locations, in registers too; the machine by its own.
std::uint64_t Bench::to_machine(std::uint64_t entry) const {
  const auto found = location_at_.find(entry & ~kFlagBits);
  if (found == location_at_.end() || frame_of_[found->second] == FramePool::kNoFrame) {
    return entry & kFlagBits;
  }
  return FramePool::address(frame_of_[found->second]) | (entry & kFlagBits);
}

std::uint64_t Bench::from_machine(std::uint64_t entry) const {
  const std::uint32_t frame = FramePool::frame_at(entry);
  for (std::size_t i = 0; i < frame_of_.size(); ++i) {
    if (frame != FramePool::kNoFrame && frame_of_[i] == frame) {
      return test_.locations[i].address | (entry & kFlagBits);
    }
  }
  return entry & kFlagBits;
}

void Bench::boot(void* self, CpuId cpu) {
  auto& bench = *static_cast<Bench*>(self);
  if (bench.virtual_memory_) bench.load_mm(bench.first_mm_[cpu], false);
  bench.machine_.instructions().set_interrupts(true, Site::current());
}

void Bench::load_mm(std::uint32_t mm, bool keep) {
  const std::uint64_t pcid = machine_.running().has_pcids() ? mm : 0;
  const std::uint64_t root = FramePool::address(roots_[mm]);
  machine_.instructions().write_cr3(root | pcid | (std::uint64_t{keep} << 63), Site::current());
}

void Bench::program(void* self, CpuId cpu) {
  auto& bench = *static_cast<Bench*>(self);
  const Column& column = *bench.columns_[static_cast<std::size_t>(Role::cpu)][cpu];
  bench.execute(column, bench.threads_[cpu]);
}

template <Role kRole>
void Bench::handler(void* self, CpuId cpu) {
  constexpr auto kIndex = static_cast<std::size_t>(kRole);
  auto& bench = *static_cast<Bench*>(self);
  const Column* column = bench.columns_[kIndex][cpu];
  if (column == nullptr) return;
  Thread& thread = bench.handler_threads_[kIndex][cpu];
  thread = {};
  bench.execute(*column, thread);
}

std::int64_t Bench::field_of(Field field, std::uint64_t entry) {
  switch (field) {
    case Field::whole:
      break;
    case Field::frame:
      return static_cast<std::int64_t>(entry & ~kFlagBits);
    case Field::present:
      return (entry & kPtePresent) != 0 ? 1 : 0;
    case Field::writable:
      return (entry & kPteWritable) != 0 ? 1 : 0;
    case Field::accessed:
      return (entry & kPteAccessed) != 0 ? 1 : 0;
    case Field::dirty:
      return (entry & kPteDirty) != 0 ? 1 : 0;
    case Field::large:
      return (entry & kPteLarge) != 0 ? 1 : 0;
    case Field::global:
      return (entry & kPteGlobal) != 0 ? 1 : 0;
    case Field::user:
      return (entry & kPteUser) != 0 ? 1 : 0;
    case Field::nx:
      return (entry & kPteNoExecute) != 0 ? 1 : 0;
  }
  return static_cast<std::int64_t>(entry);
}

std::int64_t Bench::value_of(const Term& term) {
  std::uint64_t value = 0;
  switch (term.kind) {
    case TermKind::constant:
      break;
    case TermKind::fault:
      return faults_[term.cpu];
    case TermKind::gp:
      return general_protections_[term.cpu];
    case TermKind::reg:
      value = threads_[term.cpu].registers[term.number];
      if (term.field == Field::whole) value = sign_extended(value, term.width);
      break;
    case TermKind::location: {
      const std::uint32_t frame = frame_of_[term.index];
      value = frame == FramePool::kNoFrame ? words_[term.index].peek()
                                           : machine_.frames().words(frame)[0];
      value = sign_extended(value, test_.locations[term.index].width);
      break;
    }
    case TermKind::entry:
      value = from_machine(*entry_of_[term.index]);
      break;
  }
  return field_of(term.field, value);
}

State Bench::state() {
  State result;
  for (const Term& term : test_.terms) result.push_back(value_of(term));
  return result;
}

std::string Bench::label(const void* address) {
  for (std::size_t i = 0; i < test_.locations.size(); ++i) {
    if (address == &words_[i] ||
        reinterpret_cast<std::uintptr_t>(address) == test_.locations[i].address) {
      return test_.locations[i].name;
    }
  }
  return "a page-table entry";
}

}  // namespace shootdown::host::litmus
