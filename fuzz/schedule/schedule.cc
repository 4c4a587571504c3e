#include "fuzz/schedule/schedule.h"

#include <algorithm>

#include "fuzz/events/layout.h"
#include "fuzz/scenario/kinds.h"

namespace shootdown::fuzz {

namespace {

/// The address that a walk for one of kWalkedPages is made for.
VirtAddr walked_address(unsigned page) {
  return page < kPages ? probe_address(page) : kernel_address(page - kPages);
}

constexpr std::uint64_t kLongestDelay = 255;

/// Nothing but another question, one visible operation later.
constexpr host::Action kAskAgain{.delay = 1, .kind = EventKind::drain, .cpu = 0, .argument = 0};

}  // namespace

host::Action action_of(const Header& header, const Deviation& deviation) {
  host::Action action{.delay = deviation.delay, .kind = deviation.kind, .cpu = deviation.cpu};
  // Bytes name any kind. Without its switch a fault is not injected: nothing drains.
  if ((deviation.kind == EventKind::lose || deviation.kind == EventKind::duplicate) &&
      !header.faults) {
    action.kind = EventKind::drain;
    return action;
  }
  if (deviation.kind == EventKind::aim) {
    action.kind = EventKind::preempt;
    return action;
  }
  const DeviationShape& form = shape(deviation.kind);
  if (form.names_page()) {
    action.argument = walked_address(form.value_of(deviation.arg));
    action.level = static_cast<std::uint8_t>(form.level_of(deviation.arg));
  } else if (form.args() > 1) {
    action.argument = deviation.arg + form.arg_first;
  }
  return action;
}

void LiveSchedule::start(Scenario& scenario, std::uint64_t seed) {
  resume(scenario, 0, seed);
  resumes_ = false;
}

void LiveSchedule::resume(Scenario& scenario, unsigned kept, std::uint64_t seed) {
  scenario_ = &scenario;
  random_ = Random(seed);
  auto& deviations = scenario.deviations;
  wishes_.clear();
  for (unsigned i = kept; i < deviations.size(); ++i) {
    const EventKind kind = deviations[i].kind;
    if (kind != EventKind::preempt && kind != EventKind::aim) {
      wishes_.push_back(deviations[i]);
    }
  }
  while (deviations.size() > kept) deviations.erase(deviations.size() - 1);
  asked_at_ = 0;
  last_ = 0;
  for (const Deviation& deviation : deviations) last_ += deviation.delay;
  told_ = kept;
  resumes_ = true;
}

bool LiveSchedule::next(host::Action& action) {
  // The machine takes the next action right before it does the one it has. So what is decided here,
  // with no delay, happens still before the visible operation that is about to begin.
  const auto& deviations = scenario_->deviations;
  if (resumes_) {
    // The last deviation kept is about to happen, and may choose another CPU.
    asked_at_ = step();
    resumes_ = false;
  }
  if (step() != asked_at_) {
    asked_at_ = step();
    // A longer delay cannot be written down: that the running CPU runs says nothing and restarts
    // it.
    if (asked_at_ - last_ == kLongestDelay) deviate(EventKind::preempt, running());
    decide();
  }
  if (told_ < deviations.size()) {
    action = action_of(scenario_->header, deviations[told_++]);
    action.delay = 0;
    return true;
  }
  if (deviations.full()) {
    machine_.reach(host::Limit::deviations);
    return false;
  }
  action = kAskAgain;
  return true;
}

void LiveSchedule::deviate(EventKind kind, unsigned cpu, unsigned arg) {
  auto& deviations = scenario_->deviations;
  if (deviations.full()) return machine_.reach(host::Limit::deviations);
  deviations.push_back({.delay = static_cast<std::uint8_t>(step() - last_),
                        .kind = kind,
                        .cpu = static_cast<std::uint8_t>(cpu),
                        .arg = static_cast<std::uint8_t>(arg)});
  last_ = step();
}

bool LiveSchedule::wants(EventKind kind) const {
  return std::any_of(wishes_.begin(), wishes_.end(),
                     [&](const Deviation& wish) { return wish.kind == kind; });
}

bool LiveSchedule::deviate_as_told() {
  if (wishes_.size() == 0) return false;
  const Deviation& wish = wishes_[random_.below(wishes_.size())];
  deviate(wish.kind, wish.cpu, wish.arg);
  return true;
}

unsigned LiveSchedule::some_cached_page(unsigned id) {
  const auto& entries = cpu(id).tlb.entries;
  unsigned found = some_page() % kPages;
  unsigned seen = 0;
  for (const host::TlbEntry& entry : entries) {
    const unsigned page = page_of(entry.page << entry.shift);
    if (page != kPages && random_.below(++seen) == 0) found = page;
  }
  return found;
}

void LiveSchedule::interrupt_by_nmi(unsigned cpu) {
  const unsigned page = some_cached_page(cpu);
  const unsigned access = random_.chance(1, 2) ? 1 : random_.between(1, 4);
  deviate(EventKind::nmi, cpu, shape(EventKind::nmi).arg_of(page, access));
}

void LiveSchedule::hold_interrupts(unsigned cpu) {
  constexpr unsigned kLongestHold = 8;
  deviate(EventKind::hold, cpu, random_.below(kLongestHold));
}

void LiveSchedule::leave_for(unsigned other) {
  if (random_.chance(1, 2)) fill(running());
  deviate(EventKind::preempt, other);
}

bool LiveSchedule::is_busy(unsigned id) const {
  const host::HostCpu& one = cpu(id);
  return one.place != host::VcpuPlace::descheduled && (one.must_interrupt() || !one.blocked);
}

unsigned LiveSchedule::some_other_cpu() {
  unsigned found = running();
  unsigned busy = 0;
  for (unsigned id = 0; id < cpus(); ++id) {
    if (id == running() || !is_busy(id)) continue;
    if (random_.below(++busy) == 0) found = id;
  }
  return found;
}

unsigned LiveSchedule::some_page() {
  constexpr unsigned kTries = 8;
  for (unsigned i = 0; i < kTries; ++i) {
    const auto& program = scenario_->ops[random_.below(cpus())];
    if (program.size() == 0) continue;
    const Op& op = program[random_.below(program.size())];
    const OpShape& used = shape(op.kind);
    if (!used.uses_page) continue;
    if (used.pages == kKernelPages) return kPages + op.page;
    return op.page + (used.uses_count ? random_.below(op.count) : 0);
  }
  return random_.below(kPages);
}

}  // namespace shootdown::fuzz
