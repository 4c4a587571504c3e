#include "hal/timed/machine.h"

#include <algorithm>
#include <array>
#include <utility>

#include "hal/common/ipi_choice.h"

namespace shootdown::timed {
namespace {

/// CPUs that one command can name: an x2APIC cluster (SDM vol. 3, 11.12.10.2).
constexpr CpuId kCluster = 16;
/// Looks at a word while no other CPU can do anything: the second is in vain.
constexpr unsigned kMostIdlePauses = 2;

Machine* running_machine = nullptr;

}  // namespace

Machine& machine() { return *running_machine; }

std::string_view name_of(Cause cause) {
  constexpr std::array<std::string_view, static_cast<std::size_t>(Cause::kCount)> kNames{
      "compute", "line",  "memory",  "queue",    "drain",  "locked", "fence",
      "pause",   "clock", "command", "delivery", "entry",  "exit",   "invlpg",
      "invpcid", "cr3",   "cr4",     "invlpgb",  "tlbsync"};
  return kNames[static_cast<std::size_t>(cause)];
}

Machine::Machine(const Prices& prices, CpuId cpus, std::size_t line_bytes, bool fetches_ahead)
    : prices_(prices), fetches_ahead_(fetches_ahead), directory_(line_bytes) {
  for (CpuId id = 0; id < cpus; ++id) {
    cpus_.push_back(std::make_unique<Cpu>());
    cpus_.back()->id = id;
    cpus_.back()->machine = this;
  }
}

Machine::~Machine() = default;

// ---- Which CPU runs

std::string Machine::run(Code program, Code interrupt, void* argument) {
  program_ = program;
  interrupt_ = interrupt;
  argument_ = argument;
  traffic_.assign(directory_.size(), {});
  for (const auto& cpu : cpus_) {
    cpu->fiber.prepare(run_cpu, cpu.get());
    cpu->is_parked = cpu->id != 0;
  }
  running_ = 0;
  running_machine = this;
  AccessListener* const before = listen(this);
  host::Fiber::switch_to(thread_, cpus_[0]->fiber);
  listen(before);
  running_machine = nullptr;
  return failure_;
}

void Machine::run_cpu(void* argument) {
  Cpu& cpu = *static_cast<Cpu*>(argument);
  Machine& machine = *cpu.machine;
  if (cpu.id == 0) {
    machine.program_(machine.argument_);
    host::Fiber::switch_to(cpu.fiber, machine.thread_);
  }
  for (;;) {
    machine.wait_for_work();
    if (cpu.job != nullptr) {
      cpu.job(machine.argument_);
      machine.end_compute();
      cpu.job = nullptr;
    }
  }
}

void Machine::fail(std::string_view what) {
  failure_ = "CPU " + std::to_string(running_) + ": " + std::string(what);
  host::Fiber::switch_to(current().fiber, thread_);
  __builtin_unreachable();
}

void Machine::enqueue(Cpu& cpu, Time time) {
  cpu.turn = ++turns_;
  ready_.push({.time = time, .turn = cpu.turn, .cpu = cpu.id});
}

/// Whether a CPU can run that is behind `time`.
bool Machine::others_before(Time time) {
  while (!ready_.empty() && cpus_[ready_.top().cpu]->turn != ready_.top().turn) ready_.pop();
  return !ready_.empty() && ready_.top().time < time;
}

/// Leaves this CPU to one that can run.
void Machine::run_next() {
  if (!others_before(kNever) && ready_.empty()) fail("every CPU waits, and none can go on");
  Cpu& left = current();
  Cpu& next = *cpus_[ready_.top().cpu];
  ready_.pop();
  next.turn = 0;
  next.is_parked = false;
  if (&left == &next) return;
  running_ = next.id;
  host::Fiber::switch_to(left.fiber, next.fiber);
}

/// A choice point: CPUs that are behind come first, those with the same time in turns, and then
/// interrupts that have arrived.
void Machine::give_way() {
  Cpu& cpu = current();
  if (others_before(cpu.clock + 1)) {
    enqueue(cpu, cpu.clock);
    run_next();
  }
  for (;;) {
    while (others_before(cpu.clock)) {
      enqueue(cpu, cpu.clock);
      run_next();
    }
    if (!cpu.interrupts_on || cpu.interrupt_at > cpu.clock) return;
    take_interrupts();
  }
}

void Machine::take_interrupts() {
  Cpu& cpu = current();
  end_compute();
  const Time begin = cpu.clock;
  cpu.polls_since = kNever;
  cpu.loaded = nullptr;
  cpu.interrupts_on = false;
  cpu.in_interrupt = true;
  const Event entry{.cause = Cause::entry,
                    .after = std::exchange(cpu.interrupt_from, {}),
                    .since = std::exchange(cpu.interrupt_at, kNever)};
  spend(entry, prices_.entry);
  if (is_recording_) ++tally_.interrupts;
  interrupt_(argument_);
  end_compute();
  spend({.cause = Cause::exit}, prices_.exit);
  cpu.in_interrupt = false;
  cpu.interrupts_on = true;
  if (is_recording_) cpu.handler_time += cpu.clock - begin;
}

void Machine::wait_for_work() {
  Cpu& cpu = current();
  while (cpu.job == nullptr) {
    if (cpu.interrupt_at == kNever) {
      cpu.is_parked = true;
      run_next();
      continue;
    }
    cpu.clock = std::max(cpu.clock, cpu.interrupt_at);
    give_way();
  }
}

void Machine::start(CpuId cpu, Code job) {
  Cpu& other = *cpus_[cpu];
  other.job = job;
  other.clock = std::max(other.clock, current().clock);
  enqueue(other, other.clock);
}

void Machine::settle() {
  Cpu& self = current();
  end_compute();
  for (;;) {
    if (self.interrupts_on && self.interrupt_at != kNever) {
      self.clock = std::max(self.clock, self.interrupt_at);
      give_way();
    } else if (others_before(kNever)) {
      self.is_parked = true;
      enqueue(self, kNever);
      run_next();
    } else {
      break;
    }
  }
  Time latest = 0;
  for (const auto& cpu : cpus_) latest = std::max({latest, cpu->clock, cpu->drained_at});
  for (const auto& cpu : cpus_) cpu->clock = latest;
}

void Machine::enable_interrupts() {
  current().interrupts_on = true;
  give_way();
}

void Machine::pause() {
  Cpu& cpu = current();
  end_compute();
  cpu.loaded = nullptr;
  cpu.polled = nullptr;
  if (cpu.polls_since == kNever) cpu.polls_since = cpu.clock;
  spend({.cause = Cause::pause}, prices_.pause);
  const bool alone = !others_before(kNever) && cpu.interrupt_at == kNever;
  cpu.idle_pauses = alone ? cpu.idle_pauses + 1 : 0;
  if (cpu.idle_pauses > kMostIdlePauses) fail("waits for a CPU that has nothing to do");
  // CPUs with the same time come first here: where PAUSE is free, a look must not be the last thing
  // that ever happens.
  if (!alone && prices_.pause == 0) {
    static_cast<void>(others_before(kNever));
    if (!ready_.empty()) cpu.clock = std::max(cpu.clock, ready_.top().time);
    enqueue(cpu, cpu.clock);
    run_next();
  }
  give_way();
}

// ---- What is paid

void Machine::compute(Time price) {
  Cpu& cpu = current();
  if (cpu.computes_since == kNever) cpu.computes_since = cpu.clock;
  cpu.clock += price;
}

void Machine::end_compute() {
  Cpu& cpu = current();
  if (cpu.computes_since == kNever) return;
  const Time since = std::exchange(cpu.computes_since, kNever);
  if (is_recording_ && cpu.clock != since) {
    cpu.log.push_back({.start = since, .end = cpu.clock, .cause = Cause::compute});
  }
}

/// Lets the time pass, and writes it down.
EventRef Machine::spend(Event event, Time price) {
  Cpu& cpu = current();
  event.start = cpu.clock;
  cpu.clock += price;
  event.end = cpu.clock;
  if (!is_recording_) return {};
  cpu.log.push_back(event);
  return {.cpu = cpu.id, .index = static_cast<std::uint32_t>(cpu.log.size() - 1)};
}

void Machine::block() { compute(prices_.block); }

void Machine::access(const void* address, std::size_t bytes, bool write) {
  if (!is_locked_) access_as(address, bytes, write ? Kind::store : Kind::load);
}

void Machine::access_as(const void* address, std::size_t bytes, Kind kind) {
  compute(prices_.access);
  directory_.for_each_line(address, bytes,
                           [&](std::uint64_t number, Line& line) { touch(number, line, kind); });
}

void Machine::begin_locked(const void* word) {
  instruct(Cause::locked);
  access_as(word, 1, Kind::locked);
  is_locked_ = true;
}

void Machine::touch(std::uint64_t number, Line& line, Kind kind) {
  give_way();
  Cpu& cpu = current();
  const bool write = kind != Kind::load;
  if (write) cpu.polls_since = kNever;
  const Source source = line.source_for(cpu.id, write);
  if (source == Source::own_cache) {
    if (write) traffic_[line.index].writer = last_event();
  } else if (kind == Kind::store) {
    store_later(line, source);
  } else {
    fetch(line, write, source);
  }
  directory_.take(number, line, cpu.id, write);
}

/// The event that the CPU has just ended.
EventRef Machine::last_event() {
  Cpu& cpu = current();
  end_compute();
  if (!is_recording_ || cpu.log.empty()) return {};
  return {.cpu = cpu.id, .index = static_cast<std::uint32_t>(cpu.log.size() - 1)};
}

/// A store waits in the store buffer for its line, and the CPU goes on. In order: a store leaves
/// the buffer behind those before it.
void Machine::store_later(Line& line, Source source) {
  Cpu& cpu = current();
  Traffic& traffic = traffic_[line.index];
  const Time begin = std::max(cpu.clock, traffic.free.at);
  const Time arrival = begin + way_of(line, /*write=*/true, source).price;
  cpu.drained_at = std::max(cpu.drained_at, arrival);
  cpu.draining = &line;
  traffic.free = {.at = cpu.drained_at, .by = last_event()};
  traffic.writer = traffic.free.by;
  traffic.copies.clear();
  if (is_recording_ && source != Source::memory) ++tally_.line_moves;
}

/// Waits until the store buffer is empty.
void Machine::drain() {
  Cpu& cpu = current();
  if (cpu.drained_at > cpu.clock) {
    spend({.cause = Cause::drain, .line = cpu.draining}, cpu.drained_at - cpu.clock);
  }
}

void Machine::fetch(Line& line, bool write, Source source) {
  Cpu& cpu = current();
  end_compute();
  // A second line without a PAUSE before it is no longer what the CPU has been looking at.
  if (cpu.polled != nullptr && cpu.polled != &line) cpu.polls_since = kNever;
  cpu.polled = &line;
  Traffic& traffic = traffic_[line.index];
  const Time asked = cpu.clock;
  wait_for(traffic.free, line);
  const bool copies = source == Source::sharers && !write;
  const Time start = cpu.clock;
  const Way way = way_of(line, write, source);
  // The nearest copy may still be on its way itself.
  if (copies) wait_for(traffic.copies[{way.level, group_of(way.level)}], line);
  // A loop over lines of one kind knows where the next one is, and does not wait for this one; but
  // a line that is busy begins its way later.
  const bool known = !write || fetches_ahead_;
  const bool overlaps = known && cpu.loaded != nullptr && cpu.loaded->name == line.name &&
                        cpu.polls_since == kNever && asked == cpu.clock;
  const EventRef self = spend({.cause = source == Source::memory ? Cause::memory : Cause::line,
                               .other = source == Source::owner ? line.owner : kNoCpu,
                               .line = &line,
                               .after = traffic.writer,
                               .since = cpu.polls_since},
                              overlaps ? way.price / prices_.loads : way.price);
  cpu.loaded = known ? &line : nullptr;
  traffic.free = {.at = copies ? start + prices_.reader : cpu.clock, .by = self};
  if (write) {
    traffic.writer = self;
    traffic.copies.clear();
  } else {
    note_copy(traffic, copies ? way.level : prices_.levels.size(), self);
  }
  if (is_recording_ && source != Source::memory) ++tally_.line_moves;
}

void Machine::wait_for(const Arrival& arrival, const Line& line) {
  Cpu& cpu = current();
  if (arrival.at <= cpu.clock) return;
  spend({.cause = Cause::queue, .line = &line, .after = arrival.by}, arrival.at - cpu.clock);
}

/// The CPU's groups that are smaller than the nearest one with a copy have one now.
void Machine::note_copy(Traffic& traffic, std::size_t nearest, EventRef by) {
  for (std::size_t level = 0; level < nearest; ++level) {
    traffic.copies[{level, group_of(level)}] = {.at = current().clock, .by = by};
  }
}

CpuId Machine::group_of(std::size_t level) const {
  const CpuId cpus = prices_.levels[level].cpus;
  return cpus == 0 ? 0 : running_ / cpus;
}

/// From its owner, or from the nearest of the CPUs that share it. A writer waits until the farthest
/// of them has given it up.
Machine::Way Machine::way_of(const Line& line, bool write, Source source) const {
  const CpuId self = running_;
  if (source == Source::memory) return {.price = prices_.memory, .level = 0};
  if (source == Source::owner) {
    return {.price = prices_.between(self, line.owner).line, .level = 0};
  }
  const CpuId own = line.holders.test(self) ? 1 : 0;
  const CpuId others = line.held_by - own;
  const CpuId wanted = write ? others : 1;
  const Time sharers = write ? prices_.sharer * (others - 1) : 0;
  std::size_t level = 0;
  for (; level + 1 < prices_.levels.size(); ++level) {
    const CpuId first = group_of(level) * prices_.levels[level].cpus;
    const CpuId end = first + prices_.levels[level].cpus;
    if (line.holders.count_between(first, end) - own >= wanted) break;
  }
  return {.price = prices_.levels[level].line + sharers, .level = level};
}

void Machine::instruct(Cause cause) {
  end_compute();
  Time price = 0;
  switch (cause) {
    case Cause::locked:
      price = prices_.locked;
      break;
    case Cause::fence:
      price = prices_.fence;
      break;
    case Cause::clock:
      price = prices_.clock;
      break;
    case Cause::invlpg:
      price = prices_.invlpg;
      break;
    case Cause::invpcid:
      price = prices_.invpcid;
      break;
    case Cause::cr3:
      price = prices_.cr3;
      break;
    case Cause::cr4:
      price = prices_.cr4;
      break;
    default:
      fail("no instruction has this cause");
  }
  if (cause == Cause::locked || cause == Cause::fence) drain();
  const bool invalidates = cause == Cause::invlpg || cause == Cause::invpcid || cause == Cause::cr3;
  if (is_recording_ && invalidates) ++tally_.invalidations;
  spend({.cause = cause}, price);
}

// ---- Interrupts and broadcasts

void Machine::send_interrupts() {
  end_compute();
  const auto is_same_cluster = [](CpuId one, CpuId other) {
    return one / kCluster == other / kCluster;
  };
  CpuId clusters = 0;
  for (std::size_t i = 0; i < targets_.size(); ++i) {
    if (i == 0 || !is_same_cluster(targets_[i - 1], targets_[i])) ++clusters;
  }
  const IpiMethod method = choose_ipi(
      {.targets = static_cast<CpuId>(targets_.size()), .groups = clusters, .others = cpus() - 1});
  for (std::size_t first = 0; first < targets_.size();) {
    std::size_t end = first + 1;
    while (end < targets_.size() && method != IpiMethod::one_by_one &&
           (method == IpiMethod::all_but_self || is_same_cluster(targets_[first], targets_[end]))) {
      ++end;
    }
    command(first, end);
    first = end;
  }
  targets_.clear();
}

/// One command for some of the targets.
void Machine::command(std::size_t first, std::size_t end) {
  const EventRef sent = spend({.cause = Cause::command}, prices_.command);
  if (is_recording_) ++tally_.commands;
  for (std::size_t i = first; i < end; ++i) {
    Cpu& target = *cpus_[targets_[i]];
    const Time arrival = current().clock + prices_.delivery +
                         prices_.between(running_, target.id).line +
                         ((i - first) * prices_.next_delivery);
    if (arrival >= target.interrupt_at) continue;  // merged
    target.interrupt_at = arrival;
    target.interrupt_from = sent;
    if (target.is_parked) enqueue(target, std::max(target.clock, arrival));
  }
}

Time Machine::farthest_hop() const { return cpus() == 1 ? 0 : prices_.between(0, cpus() - 1).line; }

void Machine::broadcast_invalidation() {
  end_compute();
  spend({.cause = Cause::invlpgb}, prices_.invlpgb);
  Cpu& cpu = current();
  if (is_recording_) ++tally_.invalidations;
  // The last CPU hears of it and invalidates.
  const Time done =
      cpu.clock + farthest_hop() + ((cpus() - 1) * prices_.next_broadcast) + prices_.invlpg;
  cpu.broadcast_done = std::max(cpu.broadcast_done, done);
}

void Machine::await_broadcasts() {
  end_compute();
  Cpu& cpu = current();
  const Time answered = cpu.broadcast_done + farthest_hop();
  const Time wait = answered > cpu.clock && cpu.broadcast_done != 0 ? answered - cpu.clock : 0;
  cpu.broadcast_done = 0;
  spend({.cause = Cause::tlbsync}, wait + prices_.tlbsync);
}

// ---- Recording

void Machine::start_recording() {
  end_compute();
  traffic_.assign(directory_.size(), {});
  for (const auto& cpu : cpus_) {
    cpu->log.clear();
    cpu->handler_time = 0;
    cpu->polls_since = kNever;
  }
  tally_ = {};
  directory_.start();
  is_recording_ = true;
}

void Machine::stop_recording() {
  end_compute();
  is_recording_ = false;
  directory_.stop();
}

}  // namespace shootdown::timed
