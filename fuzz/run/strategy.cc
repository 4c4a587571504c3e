#include "fuzz/run/strategy.h"

#include <algorithm>
#include <functional>

namespace shootdown::fuzz {

// ---- Pct
// ------------------------------------------------------------------------------------------

void Pct::Moments::draw(Random& random, unsigned count, std::uint64_t length) {
  size = std::min(count, kMoments);
  const auto bound = static_cast<unsigned>(std::clamp<std::uint64_t>(length, 1, kStepLimit));
  for (unsigned i = 0; i < size; ++i) steps[i] = 1 + random.below(bound);
  std::sort(steps.begin(), steps.begin() + size, std::greater<>());
}

bool Pct::Moments::take(std::uint64_t now) {
  if (size == 0 || steps[size - 1] > now) return false;
  --size;
  return true;
}

void Pct::start(Scenario& scenario, std::uint64_t seed, unsigned depth, std::uint64_t length) {
  LiveSchedule::start(scenario, seed);
  for (unsigned i = 0; i < priority_.size(); ++i) {
    const unsigned other = random().below(i + 1);
    priority_[i] = priority_[other];
    priority_[other] = static_cast<int>(i);
  }
  lowest_ = 0;
  interrupt_seen_.fill(false);
  changes_.draw(random(), depth - 1, length);
  events_.draw(random(), random().mostly_small(7), length);
}

void Pct::decide() {
  const unsigned self = running();
  while (changes_.take(step())) {
    Actor actor = Actor::program;
    if (random().chance(1, 4)) actor = random().chance(1, 2) ? Actor::buffer : Actor::interrupt;
    fall_behind(actor, self);
    if (actor == Actor::program && random().chance(1, 2)) fill(self);
  }
  while (events_.take(step())) one_event();
  time_interrupts();
  unsigned best = self;
  int highest = 0;
  for (unsigned i = 0; i < cpus(); ++i) {
    const unsigned id = (self + i) % cpus();
    const host::HostCpu& one = cpu(id);
    if (one.blocked && !one.thread->finished && priority(Actor::program, id) > lowest_) {
      fall_behind(Actor::program, id);
    }
    if (!is_busy(id)) continue;
    int mine = priority(Actor::program, id);
    if (one.must_interrupt()) mine = std::max(mine, priority(Actor::interrupt, id));
    if (i != 0 && mine <= highest) continue;
    best = id;
    highest = mine;
  }
  if (best == self) return;
  drain_buffers(highest);
  deviate(EventKind::preempt, best);
}

void Pct::one_event() {
  if (random().chance(1, 2) && deviate_as_told()) return;
  fill(random().chance(1, 2) ? running() : random().below(cpus()));
}

/// That a store has left its buffer matters only when another CPU runs, so it does so then.
void Pct::drain_buffers(int best) {
  for (unsigned id = 0; id < cpus(); ++id) {
    if (cpu(id).stores.empty() || priority(Actor::buffer, id) < best) continue;
    deviate(EventKind::drain, id, host::StoreBuffer::kStores - 1);
  }
}

/// An interrupt that has just been sent arrives before the CPU's next operation, or a long time
/// after it.
void Pct::time_interrupts() {
  constexpr unsigned kLongest = 255;
  for (unsigned id = 0; id < cpus(); ++id) {
    const host::HostCpu& one = cpu(id);
    const bool pending = one.call_pending || one.bau_pending;
    if (pending && !interrupt_seen_[id] &&
        priority(Actor::interrupt, id) < priority(Actor::program, id)) {
      deviate(EventKind::hold, id, kLongest);
    }
    interrupt_seen_[id] = pending;
  }
}

// ---- Search
// ---------------------------------------------------------------------------------------

void Search::measure(std::uint64_t group) {
  generate(group * kRuns, options_, shared_);
  scenario_ = shared_;
  scenario_.deviations.clear();
  runner_.run(scenario_);
  group_ = group;
  length_ = runner_.machine().step();
}

const host::Report& Search::run(std::uint64_t seed) {
  // The stream must not be the one that made the scenario.
  const std::uint64_t stream = seed ^ 0x9e3779b97f4a7c15;
  if (strategy_ == Strategy::pct) {
    const std::uint64_t group = seed / kRuns;
    const auto depth = static_cast<unsigned>(seed % kRuns);
    if (depth == 0 || group != group_) measure(group);
    if (depth == 0) return runner_.report();
    scenario_ = shared_;
    pct_.start(scenario_, stream, depth, length_);
    return runner_.run(scenario_, pct_);
  }
  generate(seed, options_, scenario_);
  switch (strategy_) {
    case Strategy::walk:
      walk_.start(scenario_, stream);
      return runner_.run(scenario_, walk_);
    case Strategy::aimed:
      window_targeted_.start(scenario_, stream, options_.focused || options_.focus != nullptr);
      return runner_.run(scenario_, window_targeted_);
    case Strategy::random:
    case Strategy::pct:
    case Strategy::kCount:
      break;
  }
  return runner_.run(scenario_);
}

}  // namespace shootdown::fuzz
