#include "fuzz/scenario/minimise.h"

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "fuzz/scenario/kinds.h"

namespace shootdown::fuzz {
namespace {

/// A plainer kind that often shows the same failure.
std::optional<OpKind> plainer(OpKind kind) {
  switch (kind) {
    case OpKind::write:
      return OpKind::read;
    case OpKind::free_table:
      return OpKind::unmap;
    case OpKind::exit:
      return OpKind::flush_mm;
    default:
      return std::nullopt;
  }
}

using Cost = std::array<unsigned, 10>;

/// Compared from left to right. Every accepted step lowers it, so minimising ends.
Cost cost(const Scenario& scenario) {
  constexpr Header kDefaults;
  const Header& header = scenario.header;
  Cost cost{};
  auto& [cpus, ops, deviations, mms, odd_switches, ceiling, fancy_kinds, pages, delays, details] =
      cost;
  cpus = header.cpus;
  ops = count_ops(scenario);
  deviations = scenario.deviations.size();
  mms = header.mms;
  odd_switches = (header.pcid != kDefaults.pcid ? 1u : 0u) +
                 (header.concurrent != kDefaults.concurrent ? 1u : 0u);
  odd_switches += header.backend != kDefaults.backend ? 1u : 0u;
  for (const HeaderSwitch& one : kHeaderSwitches) {
    odd_switches += header.*one.field != kDefaults.*one.field ? 1u : 0u;
  }
  ceiling = kMaxCeiling - header.ceiling;
  for (const auto& list : scenario.ops) {
    for (const Op& op : list) {
      fancy_kinds += plainer(op.kind) ? 1 : 0;
      pages += op.count;
      details += op.mm + op.page;
    }
  }
  for (const Deviation& deviation : scenario.deviations) {
    fancy_kinds += deviation.kind == EventKind::preempt ? 0 : 1;
    delays += deviation.delay;
    details += deviation.cpu + deviation.arg;
  }
  return cost;
}

/// The operations of all CPUs, then the deviations, as one numbered row of elements.
unsigned count_elements(const Scenario& scenario) {
  return count_ops(scenario) + scenario.deviations.size();
}

/// What becomes of the delay of a deviation that is dropped.
enum class Timing : std::uint8_t { keep, forget };  // keep: the next one waits longer instead.

template <class Drop>
Scenario without(const Scenario& from, Timing timing, Drop is_dropped) {
  Scenario to;
  to.header = from.header;
  unsigned element = 0;
  for (unsigned cpu = 0; cpu < kMaxCpus; ++cpu) {
    for (const Op& op : from.ops[cpu]) {
      if (!is_dropped(element++)) to.ops[cpu].push_back(op);
    }
  }
  unsigned carried = 0;
  for (Deviation deviation : from.deviations) {
    const unsigned delay = carried + deviation.delay;
    if (is_dropped(element++)) {
      carried = timing == Timing::keep ? delay : 0;
      continue;
    }
    deviation.delay = std::min(delay, 255u);
    carried = 0;
    to.deviations.push_back(deviation);
  }
  return to;
}

bool concerns(const Deviation& deviation, unsigned cpu) {
  const DeviationShape& used = shape(deviation.kind);
  return (deviation.cpu == cpu && !used.of_mm) || (used.to_cpu && deviation.arg == cpu);
}

/// Takes `gone` out of the machine. With an heir, its operations and deviations go there.
Scenario without_cpu(const Scenario& from, unsigned gone, std::optional<unsigned> heir) {
  const unsigned ops = count_ops(from);
  Scenario to = without(from, Timing::keep, [&](unsigned element) {
    if (heir || element < ops) return false;
    return concerns(from.deviations[element - ops], gone);
  });
  if (heir) {
    for (const Op& op : from.ops[gone]) {
      if (!to.ops[*heir].full()) to.ops[*heir].push_back(op);
    }
  }
  for (unsigned cpu = gone; cpu + 1 < kMaxCpus; ++cpu) to.ops[cpu] = to.ops[cpu + 1];
  to.ops[kMaxCpus - 1].clear();
  for (Deviation& deviation : to.deviations) {
    if (shape(deviation.kind).of_mm) continue;
    const auto rename = [&](std::uint8_t& cpu) {
      if (heir && cpu == gone) cpu = *heir;
      if (cpu > gone) --cpu;
    };
    rename(deviation.cpu);
    if (shape(deviation.kind).to_cpu) rename(deviation.arg);
  }
  --to.header.cpus;
  return to;
}

class Minimiser {
 public:
  Minimiser(const StillFails& still_fails, const MinimiseOptions& options)
      : still_fails_(still_fails), options_(options) {}
  MinimiseResult run(Scenario start);

 private:
  bool attempt(Scenario candidate);
  template <class Change>
  bool attempt_change(Change change);
  template <class Drop>
  void attempt_without(Drop is_dropped);

  void drop_cpus();
  void drop_elements();
  void drop_pairs();
  void merge_cpus();
  void simplify_header();
  void simplify_ops();
  void shorten_range(unsigned cpu, unsigned index);
  void simplify_deviations();
  void lower(unsigned index, std::uint8_t Deviation::* field);
  void rename_pages();
  void rename_mms();
  void drop_ops_and_retime();

  const StillFails& still_fails_;
  const MinimiseOptions& options_;
  Scenario best_;
  unsigned tries_{0};
  bool out_of_tries_{false};
  std::set<std::string> tried_;
};

/// What no other scenario has.
std::string key_of(const Scenario& scenario) {
  if (scenario.header.cpus > kByteCpus) return print(scenario);
  const std::vector<std::uint8_t> bytes = encode(scenario);
  return {bytes.begin(), bytes.end()};
}

/// Takes the candidate as the new best one if it is simpler and still fails.
bool Minimiser::attempt(Scenario candidate) {
  normalise(candidate);
  if (!is_simpler(candidate, best_)) return false;
  std::string key = key_of(candidate);
  if (tried_.contains(key)) return false;
  if (tries_ >= options_.max_tries) {
    out_of_tries_ = true;
    return false;
  }
  tried_.insert(std::move(key));
  ++tries_;
  const bool accepted = still_fails_(candidate);
  if (accepted) best_ = candidate;
  if (options_.progress) options_.progress({tries_, accepted, best_});
  return accepted;
}

template <class Change>
bool Minimiser::attempt_change(Change change) {
  Scenario candidate = best_;
  change(candidate);
  return attempt(candidate);
}

template <class Drop>
void Minimiser::attempt_without(Drop is_dropped) {
  if (attempt(without(best_, Timing::keep, is_dropped))) return;
  attempt(without(best_, Timing::forget, is_dropped));
}

void Minimiser::drop_cpus() {
  for (unsigned cpu = best_.header.cpus; cpu-- > 0 && best_.header.cpus > 1;) {
    if (attempt(without_cpu(best_, cpu, std::nullopt))) continue;
    attempt_change([&](Scenario& candidate) { candidate.ops[cpu].clear(); });
  }
}

/// Chunks first, halving down to single elements. Later elements go first: nothing depends on them.
void Minimiser::drop_elements() {
  for (unsigned size = count_elements(best_); size > 0; size /= 2) {
    unsigned end = count_elements(best_);
    while (end > 0) {
      const unsigned first = end > size ? end - size : 0;
      attempt_without([&](unsigned element) { return element >= first && element < end; });
      end = first;
    }
  }
}

/// Some elements only go together, such as idle and resume.
void Minimiser::drop_pairs() {
  constexpr unsigned kMostElements = 40;
  if (count_elements(best_) > kMostElements) return;
  for (unsigned second = 1; second < count_elements(best_); ++second) {
    for (unsigned first = 0; first < second && second < count_elements(best_); ++first) {
      attempt_without([&](unsigned element) { return element == first || element == second; });
    }
  }
}

void Minimiser::merge_cpus() {
  for (unsigned gone = best_.header.cpus; gone-- > 0;) {
    for (unsigned heir = 0; heir < best_.header.cpus && gone < best_.header.cpus; ++heir) {
      if (heir != gone) attempt(without_cpu(best_, gone, heir));
    }
  }
}

void Minimiser::simplify_header() {
  const Header defaults;
  attempt_change([&](Scenario& candidate) {
    candidate.header = defaults;
    candidate.header.cpus = best_.header.cpus;
    candidate.header.mms = 1;
  });
  for (unsigned mms = 1; mms < best_.header.mms; ++mms) {
    attempt_change([&](Scenario& candidate) { candidate.header.mms = mms; });
  }
  attempt_change([&](Scenario& candidate) { candidate.header.pcid = defaults.pcid; });
  attempt_change([&](Scenario& candidate) { candidate.header.concurrent = defaults.concurrent; });
  attempt_change([&](Scenario& candidate) { candidate.header.backend = defaults.backend; });
  for (const HeaderSwitch& one : kHeaderSwitches) {
    attempt_change([&](Scenario& candidate) { candidate.header.*one.field = defaults.*one.field; });
  }
  for (unsigned ceiling = kMaxCeiling; ceiling > best_.header.ceiling; --ceiling) {
    attempt_change([&](Scenario& candidate) { candidate.header.ceiling = ceiling; });
  }
}

void Minimiser::simplify_ops() {
  for (unsigned cpu = 0; cpu < kMaxCpus; ++cpu) {
    for (unsigned i = 0; i < best_.ops[cpu].size(); ++i) {
      if (const auto kind = plainer(best_.ops[cpu][i].kind)) {
        attempt_change([&](Scenario& candidate) { candidate.ops[cpu][i].kind = *kind; });
      }
      shorten_range(cpu, i);
      for (unsigned mm = 0; mm < best_.ops[cpu][i].mm; ++mm) {
        attempt_change([&](Scenario& candidate) { candidate.ops[cpu][i].mm = mm; });
      }
      for (unsigned page = 0; page < best_.ops[cpu][i].page; ++page) {
        attempt_change([&](Scenario& candidate) { candidate.ops[cpu][i].page = page; });
      }
    }
  }
}

/// Cuts a range at its end, by halves and then by single pages, and at its start.
void Minimiser::shorten_range(unsigned cpu, unsigned index) {
  const auto cut = [&](unsigned start, unsigned end) {
    return attempt_change([&](Scenario& candidate) {
      Op& op = candidate.ops[cpu][index];
      op.page += start;
      op.count -= start + end;
    });
  };
  const auto count = [&] { return unsigned{best_.ops[cpu][index].count}; };
  if (!cut(0, count() - 1)) cut(count() - 1, 0);
  for (unsigned size = count() / 2; size > 0; size /= 2) {
    bool shortened = true;
    while (shortened && count() > size) shortened = cut(0, size) || cut(size, 0);
  }
}

void Minimiser::simplify_deviations() {
  for (unsigned i = 0; i < best_.deviations.size(); ++i) {
    attempt_change([&](Scenario& candidate) {
      candidate.deviations[i].kind = EventKind::preempt;
      candidate.deviations[i].arg = 0;
    });
    for (unsigned cpu = 0; cpu < best_.deviations[i].cpu; ++cpu) {
      attempt_change([&](Scenario& candidate) { candidate.deviations[i].cpu = cpu; });
    }
    for (unsigned arg = 0; arg < kPages && arg < best_.deviations[i].arg; ++arg) {
      attempt_change([&](Scenario& candidate) { candidate.deviations[i].arg = arg; });
    }
    lower(i, &Deviation::delay);
    lower(i, &Deviation::arg);
  }
}

/// Down to zero if possible, else by halves and then by single steps.
void Minimiser::lower(unsigned index, std::uint8_t Deviation::* field) {
  for (unsigned step = best_.deviations[index].*field; step > 0; step /= 2) {
    bool lowered = true;
    while (lowered && best_.deviations[index].*field >= step) {
      lowered = attempt_change([&](Scenario& candidate) {
        std::uint8_t& value = candidate.deviations[index].*field;
        value -= step;
      });
    }
  }
}

/// Renames a page everywhere at once: one operation alone would lose its partner.
void Minimiser::rename_pages() {
  for (unsigned from = kPages; from-- > 1;) {
    for (unsigned to = 0; to < from; ++to) {
      attempt_change([&](Scenario& candidate) {
        for (auto& list : candidate.ops) {
          for (Op& op : list) {
            if (op.page == from) op.page = to;
          }
        }
        for (Deviation& deviation : candidate.deviations) {
          const DeviationShape& used = shape(deviation.kind);
          if (used.arg_name != "page" || used.value_of(deviation.arg) != from) continue;
          deviation.arg = used.arg_of(to, used.level_of(deviation.arg));
        }
      });
    }
  }
}

void Minimiser::rename_mms() {
  for (unsigned from = best_.header.mms; from-- > 1;) {
    for (unsigned to = 0; to < from; ++to) {
      attempt_change([&](Scenario& candidate) {
        for (auto& list : candidate.ops) {
          for (Op& op : list) {
            if (op.mm == from) op.mm = to;
          }
        }
        for (Deviation& deviation : candidate.deviations) {
          if (shape(deviation.kind).of_mm && deviation.cpu == from) deviation.cpu = to;
        }
      });
    }
  }
}

/// An operation that did nothing else still moved the deviations after it. Tries to drop it and
/// to let one deviation come earlier by what it took.
void Minimiser::drop_ops_and_retime() {
  for (unsigned op = count_ops(best_); op-- > 0;) {
    for (unsigned i = 0; i < best_.deviations.size() && op < count_ops(best_); ++i) {
      const unsigned delay = best_.deviations[i].delay;
      Scenario candidate = without(best_, Timing::keep, [&](unsigned e) { return e == op; });
      for (unsigned earlier = 1; earlier <= delay; ++earlier) {
        candidate.deviations[i].delay = delay - earlier;
        if (attempt(candidate)) break;
      }
    }
  }
}

MinimiseResult Minimiser::run(Scenario start) {
  normalise(start);
  best_ = start;
  ++tries_;
  if (!still_fails_(start)) return {start, tries_, MinimiseOutcome::not_reproduced};
  Cost before;
  do {
    before = cost(best_);
    drop_cpus();
    drop_elements();
    merge_cpus();
    simplify_header();
    rename_mms();
    rename_pages();
    simplify_ops();
    simplify_deviations();
    if (cost(best_) == before) drop_pairs();
    if (cost(best_) == before) drop_ops_and_retime();
  } while (cost(best_) < before && !out_of_tries_);
  return {best_, tries_, out_of_tries_ ? MinimiseOutcome::out_of_tries : MinimiseOutcome::minimal};
}

}  // namespace

bool is_simpler(const Scenario& one, const Scenario& other) { return cost(one) < cost(other); }

MinimiseResult minimise(const Scenario& start, const StillFails& still_fails,
                        const MinimiseOptions& options) {
  return Minimiser(still_fails, options).run(start);
}

}  // namespace shootdown::fuzz
