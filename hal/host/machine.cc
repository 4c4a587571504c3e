#include "hal/host/machine.h"

#include <utility>

#include "hal/host/walk.h"

namespace shootdown::host {

namespace {

/// Fibers are reused from run to run; each loops over this argument.
struct FiberArgument {
  Machine* machine;
  CpuId cpu;
};

constexpr std::uint64_t kNever = ~std::uint64_t{0};

}  // namespace

Machine::Machine() {
  for (CpuId id = 0; id < kHostCpus; ++id) cpus_[id].id = id;
  running_ = cpus_.data();
}

void Machine::prepare(const Setup& setup) {
  setup_ = setup;
  observer_ = setup.observer;
  for (HostCpu& cpu : cpus_) {
    cpu.cr3 = 0;
    cpu.cr4 = (setup.pcid ? kCr4Pcid : 0) | (setup.global_pages ? kCr4GlobalPages : 0);
    cpu.interrupts_enabled = false;
    cpu.in_interrupt = false;
    cpu.call_pending = false;
    cpu.blocked = false;
    cpu.finished = false;
    cpu.hold = 0;
    cpu.preemption_off = 0;
    cpu.pause_saw = kNever;
    cpu.tlb.clear();
  }
  frames_.reset();
  features_.clear();
  timeline_.clear();
  report_ = {};
  step_ = 0;
  next_stop_ = kNever;
  changes_ = 0;
  hash_ = 0;
  interrupts_delivered_ = 0;
  observing_ = false;
  have_action_ = false;
  done_ = false;
  unfinished_ = setup.cpus;
  running_ = cpus_.data();
  current_machine = this;
}

void Machine::cpu_main(void* argument) {
  // The fiber belongs to one CPU of one machine for good, and waits here between runs.
  auto& self = *static_cast<HostCpu*>(argument);
  for (;;) {
    Machine& machine = *current_machine;
    machine.setup_.boot(machine.setup_.argument, self.id);
    Fiber::switch_to(self.fiber, machine.host_);
    machine.setup_.program(machine.setup_.argument, self.id);
    self.finished = true;
    --machine.unfinished_;
    machine.idle();
    Fiber::switch_to(self.fiber, machine.host_);
  }
}

void Machine::idle() {
  // A CPU without work still answers interrupts.
  HostCpu& self = *running_;
  while (!done_) {
    if (self.must_interrupt()) {
      interrupt();
      continue;
    }
    self.blocked = true;
    HostCpu* next = next_runnable();
    if (next != nullptr) {
      switch_to(*next);
    } else if (unfinished_ == 0) {
      done_ = true;
    } else {
      report_deadlock();
    }
    self.blocked = false;
  }
}

const Report& Machine::run() {
  if (!fibers_ready_) {
    for (HostCpu& cpu : cpus_) cpu.fiber.prepare(&Machine::cpu_main, &cpu);
    fibers_ready_ = true;
  }
  for (CpuId id = 0; id < setup_.cpus && !report_.failed(); ++id) {
    running_ = &cpus_[id];
    Fiber::switch_to(host_, cpus_[id].fiber);
  }
  if (report_.failed()) return report_;
  step_ = 0;
  hash_ = 0;
  changes_ = 0;
  observing_ = observer_ != nullptr;
  for (CpuId id = 0; id < setup_.cpus && observing_; ++id) observer_->on_cr3(id);
  timeline_.clear();
  next_stop_ = 0;
  fetch_action();
  running_ = cpus_.data();
  Fiber::switch_to(host_, running_->fiber);
  // One CPU noticed that all is done and came back; the others wait in `idle` and follow.
  for (CpuId id = 0; id < setup_.cpus && !report_.failed(); ++id) {
    if (!cpus_[id].blocked) continue;
    running_ = &cpus_[id];
    Fiber::switch_to(host_, cpus_[id].fiber);
  }
  observing_ = false;
  return report_;
}

void Machine::leave_run() {
  // Every fiber is abandoned where it stands; the next run prepares them afresh.
  fibers_ready_ = false;
  observing_ = false;
  Fiber::switch_to(running_->fiber, host_);
  __builtin_unreachable();
}

void Machine::fail(Report report) {
  {
    // The frames from here on are abandoned, so nothing may own memory any more: a plain assignment
    // might swap what the previous run's report held into the parameter.
    const Report previous = std::exchange(report_, std::move(report));
  }
  leave_run();
}

void Machine::fail(const Failure& failure) {
  Report report;
  report.oracle = Oracle::check;
  report.title = failure.what;
  report.detail = "A check inside the core failed. It guards R" +
                  std::to_string(static_cast<unsigned>(failure.rule)) + ".";
  report.second = {.step = step_, .cpu = running_->id, .what = failure.what};
  if (recording_) record(std::string("check failed: ") + failure.what, failure.where);
  fail(std::move(report));
}

// ---- Scheduling
// -----------------------------------------------------------------------------------

void Machine::fetch_action() {
  have_action_ = setup_.schedule != nullptr && setup_.schedule->next(action_);
  const std::uint64_t due = have_action_ ? next_stop_ + action_.delay : kNever;
  next_stop_ = due < setup_.step_limit ? due : setup_.step_limit;
}

void Machine::choose() {
  while (step_ >= next_stop_) {
    if (step_ >= setup_.step_limit) {
      Report report;
      report.oracle = Oracle::o18;
      report.title = "a run does not end";
      report.detail =
          "The step limit was reached although the schedule is fair by then: some CPU "
          "repeats itself for ever.";
      report.second = {.step = step_, .cpu = running_->id, .what = "still running"};
      fail(std::move(report));
    }
    const Action action = action_;
    fetch_action();
    apply(action);
  }
}

void Machine::apply(const Action& action) {
  HostCpu& target = cpus_[action.cpu];
  switch (action.kind) {
    case ActionKind::preempt:
      if (&target != running_ && can_run(target)) switch_to(target);
      break;
    case ActionKind::hold:
      target.hold = static_cast<std::uint32_t>(action.argument);
      break;
    case ActionKind::fill:
      fill(target, action.argument, /*write=*/false, /*speculative=*/true);
      break;
    case ActionKind::evict:
      target.tlb.evict(static_cast<std::uint32_t>(action.argument));
      break;
  }
}

bool Machine::can_run(const HostCpu& cpu) const {
  if (cpu.must_interrupt()) return true;
  if (!cpu.blocked) return true;
  return !cpu.finished && changes_ != cpu.pause_saw;
}

HostCpu* Machine::next_runnable() {
  for (CpuId i = 1; i <= setup_.cpus; ++i) {
    HostCpu& candidate = cpus_[(running_->id + i) % setup_.cpus];
    if (can_run(candidate)) return &candidate;
  }
  return nullptr;
}

void Machine::switch_to(HostCpu& next) {
  HostCpu& previous = *running_;
  running_ = &next;
  Fiber::switch_to(previous.fiber, next.fiber);
}

void Machine::block() {
  HostCpu& self = *running_;
  self.blocked = true;
  HostCpu* next = next_runnable();
  if (next == nullptr) report_deadlock();
  // An interrupt held back by the schedule arrives when the CPU has nothing else to do.
  if (next->blocked) next->hold = 0;
  if (next != &self) switch_to(*next);
  self.blocked = false;
}

void Machine::report_deadlock() {
  Report report;
  report.oracle = Oracle::o18;
  report.title = "all CPUs wait";
  for (CpuId id = 0; id < setup_.cpus; ++id) {
    const HostCpu& cpu = cpus_[id];
    report.detail += "cpu" + std::to_string(id) +
                     (cpu.finished ? ": has no more work" : ": waits") +
                     (cpu.interrupts_enabled ? ", interrupts on" : ", interrupts off") +
                     (cpu.call_pending ? ", an interrupt is pending" : "") + ". ";
  }
  report.second = {.step = step_, .cpu = running_->id, .what = "nobody can run"};
  fail(std::move(report));
}

void Machine::interrupt() {
  HostCpu& self = *running_;
  while (self.must_interrupt()) {
    if (self.hold > 0) {
      --self.hold;
      return;
    }
    self.call_pending = false;
    self.interrupts_enabled = false;
    self.in_interrupt = true;
    ++interrupts_delivered_;
    ++changes_;
    note(OpClass::interrupt, 0);
    if (recording_) record("interrupt: call function {", Site());
    setup_.interrupt(setup_.argument, self.id);
    if (recording_) record("} return from interrupt", Site());
    self.in_interrupt = false;
    self.interrupts_enabled = true;
    changed();
  }
}

// ---- Operations
// -----------------------------------------------------------------------------------

void Machine::full_fence(Site where) {
  visible();
  note(OpClass::fence, 0);
  if (recording_) record("full fence", where);
}

void Machine::write_cr3(std::uint64_t value, Site where) {
  visible();
  HostCpu& self = *running_;
  const bool keep = (value >> 63) != 0;
  if (keep && !setup_.pcid) {
    Report report;
    report.oracle = Oracle::fault;
    report.title = "a load of CR3 faults";
    report.detail = "Bit 63, the keep bit, is reserved while CR4.PCIDE is 0.";
    report.second = {.step = step_, .cpu = self.id, .what = "loads CR3 with the keep bit"};
    fail(std::move(report));
  }
  self.cr3 = value & ~(std::uint64_t{1} << 63);
  if (!setup_.pcid) {
    self.tlb.flush_non_global();
  } else if (!keep) {
    self.tlb.flush_pcid(pcid_of(self.cr3));
  }
  note(OpClass::cr3, value);
  if (recording_) {
    record_access(keep ? "load CR3, keep" : "load CR3, flush", nullptr, self.cr3, where);
  }
  if (observing_) {
    if (!keep) observer_->on_invalidate(self.id);
    observer_->on_cr3(self.id);
    stop_if_failed();
  }
  changed();
}

void Machine::invlpg(VirtAddr address, Site where) {
  visible();
  HostCpu& self = *running_;
  const std::uint16_t pcid = pcid_of(self.cr3);
  if (setup_.invlpg_leaves_globals && setup_.pcid) {
    self.tlb.flush_address_not_global(address, pcid);
  } else {
    self.tlb.flush_address(address, pcid);
  }
  note(OpClass::invlpg, address);
  if (recording_) record_access("invlpg", nullptr, address, where);
  if (observing_) observer_->on_invalidate(self.id);
  changed();
}

void Machine::invpcid(InvpcidType type, std::uint64_t pcid, VirtAddr address, Site where) {
  visible();
  HostCpu& self = *running_;
  const auto canonical = static_cast<std::uint64_t>(static_cast<std::int64_t>(address << 16) >> 16);
  const bool by_address = type == InvpcidType::address;
  const bool names_pcid = by_address || type == InvpcidType::context;
  if ((by_address && canonical != address) || (names_pcid && pcid != 0 && !setup_.pcid)) {
    Report report;
    report.oracle = Oracle::fault;
    report.title = "INVPCID faults";
    report.detail = "Its address is not canonical, or it names a PCID while CR4.PCIDE is off.";
    report.second = {.step = step_, .cpu = self.id, .what = "executes INVPCID"};
    fail(std::move(report));
  }
  const auto tag = static_cast<std::uint16_t>(pcid);
  switch (type) {
    case InvpcidType::address:
      self.tlb.flush_address_in(address, tag);
      break;
    case InvpcidType::context:
      self.tlb.flush_pcid(tag);
      break;
    case InvpcidType::everything:
      self.tlb.clear();
      break;
    case InvpcidType::all_contexts:
      self.tlb.flush_non_global();
      break;
  }
  note(OpClass::invpcid, (pcid << 8) ^ address);
  if (recording_) {
    static constexpr const char* kVerbs[] = {"invpcid address", "invpcid context",
                                             "invpcid everything", "invpcid all contexts"};
    std::string what = kVerbs[static_cast<unsigned>(type)];
    if (names_pcid) what += ", PCID " + std::to_string(pcid);
    if (by_address) what += ", " + name_of(address);
    record(std::move(what), where);
  }
  if (observing_) observer_->on_invalidate(self.id);
  changed();
}

void Machine::write_cr4(std::uint64_t value, Site where) {
  visible();
  HostCpu& self = *running_;
  if (((self.cr4 ^ value) & (kCr4GlobalPages | kCr4Pcid)) != 0) self.tlb.clear();
  self.cr4 = value;
  note(OpClass::cr4, value);
  if (recording_)
    record((value & kCr4GlobalPages) != 0 ? "load CR4, PGE on" : "load CR4, PGE off", where);
  if (observing_) observer_->on_invalidate(self.id);
  changed();
}

void Machine::set_interrupts(bool on, Site where) {
  visible();
  running_->interrupts_enabled = on;
  note(OpClass::interrupt_flag, static_cast<std::uint64_t>(on));
  if (recording_) record(on ? "interrupts on" : "interrupts off", where);
  changed();
}

void Machine::pause(Site where) {
  visible();
  HostCpu& self = *running_;
  note(OpClass::pause, 0);
  if (!self.interrupts_enabled) {
    Report report;
    report.oracle = Oracle::o18;
    report.title = "a CPU waits with interrupts off";
    report.detail = "Two CPUs that do so at the same time wait for each other for ever.";
    report.second = {.step = step_, .cpu = self.id, .what = "pause with interrupts off"};
    if (recording_) record("pause, interrupts off", where);
    fail(std::move(report));
  }
  // Only if nothing has changed since the pause before is this CPU's wait pointless for now; a
  // change between its last look and this pause costs one more round.
  if (self.pause_saw == changes_) {
    if (recording_) record("waits", where);
    block();
    choose();
  }
  self.pause_saw = changes_;
}

void Machine::send_call_function_ipi(const HostCpuMask& targets, Site where) {
  visible();
  note(OpClass::ipi, targets.word(0));
  if (recording_) {
    std::string who;
    targets.for_each([&](CpuId id) { who += " cpu" + std::to_string(id); });
    record("send interrupt to" + (who.empty() ? " nobody" : who), where);
  }
  if (observing_) {
    observer_->on_ipi(running_->id, targets);
    stop_if_failed();
  }
  targets.for_each([&](CpuId id) { cpus_[id].call_pending = true; });
  changed();
}

AccessResult Machine::access(VirtAddr address, bool write, Site where) {
  visible();
  HostCpu& self = *running_;
  const std::uint16_t pcid = pcid_of(self.cr3);
  const auto permits = [write](const TlbEntry* entry) {
    return entry != nullptr && (!write || (entry->writable && entry->dirty));
  };
  TlbEntry* entry = self.tlb.find(address, pcid);
  const bool cached = entry != nullptr;
  if (!permits(entry)) {
    // A clean entry walks again. One without the right faults, and then the access starts anew.
    if (cached && !entry->writable) self.tlb.drop_faulting(address, pcid);
    entry = fill(self, address, write, /*speculative=*/false);
  }
  const bool fault = !permits(entry);
  if (fault) self.tlb.drop_faulting(address, pcid);
  note(OpClass::access, address ^ static_cast<std::uint64_t>(fault));
  features_.hit(0x1000 + (static_cast<unsigned>(cached) << 1) + static_cast<unsigned>(fault));
  if (recording_) {
    record_access(write ? "store to" : "load from", nullptr, address, where);
    timeline_.back().what += fault ? ": page fault" : cached ? ": cached" : ": walked";
  }
  if (fault) return AccessResult::fault;
  if (observing_) {
    observer_->on_use(self.id, address, *entry);
    stop_if_failed();
  }
  std::uint64_t* word = frames_.words(entry->frame);
  if (write) {
    ++*word;
    changed();
  } else {
    note(OpClass::access, *word);
  }
  return AccessResult::done;
}

TlbEntry* Machine::fill(HostCpu& cpu, VirtAddr address, bool write, bool speculative) {
  const std::uint16_t pcid = pcid_of(cpu.cr3);
  if (speculative && cpu.tlb.find(address, pcid) != nullptr) return nullptr;
  Observer* observer = observing_ ? observer_ : nullptr;
  const WalkResult walk = walk_tables(frames_, cpu, address, pcid, write, observer);
  stop_if_failed();
  if (!walk.present) return nullptr;
  TlbEntry entry{.page = address >> walk.shift,
                 .frame = walk.frame,
                 .pcid = pcid,
                 .shift = walk.shift,
                 .global = walk.global && (cpu.cr4 & kCr4GlobalPages) != 0,
                 .writable = walk.writable,
                 .dirty = walk.dirty,
                 .from = {.step = step_, .speculative = speculative}};
  if (observer != nullptr) observer->on_fill(cpu.id, address, entry.from);
  cpu.tlb.entries.remove_if([&](const TlbEntry& old) {
    return old.covers(address) && (old.pcid == pcid || old.global) && old.shift == walk.shift;
  });
  TlbEntry& cached = cpu.tlb.entries.insert(entry);
  if (recording_ && speculative) {
    timeline_.push_back({.step = step_,
                         .cpu = cpu.id,
                         .what = "speculative fill of " + name_of(address),
                         .where = Site()});
  }
  return &cached;
}

std::uint64_t Machine::read_word(const std::uint64_t* word, Site where) {
  visible();
  const std::uint64_t value = *word;
  note(OpClass::load, value);
  if (recording_) record_access("read", word, value, where);
  return value;
}

std::uint64_t Machine::exchange_word(std::uint64_t* word, std::uint64_t value, Site where) {
  visible();
  const std::uint64_t old = std::exchange(*word, value);
  note(OpClass::modify, value);
  if (recording_) record_access("write", word, value, where);
  changed();
  return old;
}

std::uint64_t Machine::clear_bits(std::uint64_t* word, std::uint64_t bits, Site where) {
  visible();
  const std::uint64_t old = std::exchange(*word, *word & ~bits);
  note(OpClass::modify, *word);
  if (recording_) record_access("write", word, *word, where);
  changed();
  return old;
}

std::uint64_t Machine::set_bits(std::uint64_t* word, std::uint64_t bits, Site where) {
  visible();
  const std::uint64_t old = std::exchange(*word, *word | bits);
  note(OpClass::modify, *word);
  if (recording_) record_access("write", word, *word, where);
  changed();
  return old;
}

void Machine::record(std::string what, Site where) {
  timeline_.push_back(
      {.step = step_, .cpu = running_->id, .what = std::move(what), .where = where});
}

std::string Machine::name_of(VirtAddr address) const {
  if (observer_ == nullptr) return std::to_string(address);
  return observer_->label(reinterpret_cast<const void*>(address));
}

void Machine::record_access(const char* verb, const void* address, std::uint64_t value,
                            Site where) {
  std::string what = verb;
  if (address != nullptr) {
    what += " " + (observer_ != nullptr ? observer_->label(address) : std::string("word"));
    what += " = " + std::to_string(value);
  } else {
    what += " " + name_of(value);
  }
  record(std::move(what), where);
}

}  // namespace shootdown::host
