#include "fuzz/scenario/mutator.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "fuzz/scenario/generate.h"
#include "fuzz/scenario/kinds.h"

namespace shootdown::fuzz {
namespace {

using OpList = BoundedList<Op, kMaxOpsPerCpu>;
using DeviationList = BoundedList<Deviation, kMaxDeviations>;

constexpr unsigned kLongestDelay = 255;

/// Where an operation stands.
struct Place {
  OpList* list;
  unsigned index;
};

/// One call of the mutator: what it works on and the randomness it draws from.
struct Context {
  Scenario& scenario;
  Random& random;
  const Swarm& swarm;

  [[nodiscard]] unsigned any_cpu() { return random.below(scenario.header.cpus); }
  [[nodiscard]] OpList& any_program() { return scenario.ops[any_cpu()]; }
  /// Every operation is equally likely, whichever CPU has it. Precondition: there is one.
  [[nodiscard]] Place any_place() {
    unsigned left = random.below(count_ops(scenario));
    OpList* list = scenario.ops.data();
    for (; left >= list->size(); ++list) left -= list->size();
    return {list, left};
  }
  /// Null if there is none.
  [[nodiscard]] Op* any_op() {
    if (count_ops(scenario) == 0) return nullptr;
    const Place place = any_place();
    return &(*place.list)[place.index];
  }
  [[nodiscard]] Deviation* any_deviation() {
    DeviationList& list = scenario.deviations;
    return list.size() == 0 ? nullptr : &list[random.below(list.size())];
  }
};

void insert_somewhere(OpList& list, const Op& op, Random& random) {
  if (!list.full()) list.insert(random.below(list.size() + 1), op);
}

void insert_op(Context& context) {
  // These two stand in no mix.
  const OpKind rare = context.random.chance(1, 2) ? OpKind::flush_range : OpKind::map_small;
  const Op op = context.random.chance(1, 32) ? context.swarm.op(context.random, rare)
                                             : context.swarm.op(context.random);
  insert_somewhere(context.any_program(), op, context.random);
}

void erase_op(Context& context) {
  if (count_ops(context.scenario) == 0) return;
  const Place place = context.any_place();
  place.list->erase(place.index);
}

void erase_ops_in_a_row(Context& context) {
  OpList& list = context.any_program();
  if (list.size() == 0) return;
  const unsigned first = context.random.below(list.size());
  const unsigned count = 1 + context.random.below(list.size() - first);
  for (unsigned i = 0; i < count; ++i) list.erase(first);
}

void change_op(Context& context) {
  Op* op = context.any_op();
  if (op == nullptr) return;
  const Op other = context.swarm.op(context.random);
  switch (context.random.below(4)) {
    case 0:
      op->kind = other.kind;
      break;
    case 1:
      op->mm = context.random.below(context.scenario.header.mms);
      break;
    case 2:
      op->page = context.random.below(kPages);
      break;
    default:
      op->count = 1 + context.random.below(kSmallPages);
  }
}

void replace_op(Context& context) {
  if (Op* op = context.any_op()) *op = context.swarm.op(context.random);
}

void copy_op(Context& context) {
  if (const Op* op = context.any_op()) {
    const Op copy = *op;  // Inserting may move the original.
    insert_somewhere(context.any_program(), copy, context.random);
  }
}

void swap_ops(Context& context) {
  Op* one = context.any_op();
  Op* other = context.any_op();
  if (one != nullptr) std::swap(*one, *other);
}

/// Bugs need CPUs that meet on the same page of the same mm.
void make_ops_meet(Context& context) {
  const Op* model = context.any_op();
  if (model == nullptr) return;
  const Op copy = *model;
  for (unsigned times = context.random.between(1, 4); times > 0; --times) {
    Op& op = *context.any_op();
    op.mm = copy.mm;
    op.page = copy.page;
  }
}

void rewrite_program(Context& context) {
  OpList& list = context.any_program();
  const unsigned size = context.random.between(1, kMaxOpsPerCpu);
  list.clear();
  while (list.size() < size) list.push_back(context.swarm.op(context.random));
}

/// Swarm testing for an existing input: only the kinds of one swarm remain.
void restrict_kinds(Context& context) {
  for (OpList& list : context.scenario.ops) {
    for (Op& op : list) {
      if (!context.swarm.allows(op.kind)) op.kind = context.swarm.op_kind(context.random);
    }
  }
}

void swap_programs(Context& context) {
  OpList& one = context.any_program();
  OpList& other = context.any_program();
  if (&one != &other) std::swap(one, other);
}

void copy_program(Context& context) {
  const OpList& from = context.any_program();
  OpList& to = context.any_program();
  if (&from != &to) to = from;
}

/// Adds to a delay, within its range.
void lengthen(Deviation& deviation, unsigned by) {
  deviation.delay = std::min(deviation.delay + by, kLongestDelay);
}

void insert_deviation(Context& context) {
  DeviationList& list = context.scenario.deviations;
  if (list.full()) return;
  Deviation added = context.swarm.deviation(context.random);
  const unsigned index = context.random.below(list.size() + 1);
  if (index < list.size() && context.random.chance(1, 2)) {
    // Later deviations stay where they are in the schedule.
    added.delay = std::min(added.delay, list[index].delay);
    list[index].delay -= added.delay;
  }
  list.insert(index, added);
}

void erase_deviation(Context& context) {
  DeviationList& list = context.scenario.deviations;
  if (list.size() == 0) return;
  const unsigned index = context.random.below(list.size());
  const unsigned delay = list[index].delay;
  list.erase(index);
  if (index < list.size() && context.random.chance(1, 2)) lengthen(list[index], delay);
}

void erase_last_deviations(Context& context) {
  DeviationList& list = context.scenario.deviations;
  if (list.size() == 0) return;
  const unsigned kept = context.random.below(list.size());
  while (list.size() > kept) list.erase(list.size() - 1);
}

void retime_deviation(Context& context) {
  Deviation* deviation = context.any_deviation();
  if (deviation == nullptr) return;
  const unsigned step = 1 + context.random.mostly_small(15);
  switch (context.random.below(3)) {
    case 0:
      lengthen(*deviation, step);
      break;
    case 1:
      deviation->delay -= std::min<unsigned>(deviation->delay, step);
      break;
    default:
      deviation->delay = context.random.mostly_small(kLongestDelay);
  }
}

void change_deviation(Context& context) {
  Deviation* deviation = context.any_deviation();
  if (deviation == nullptr) return;
  const Deviation other = context.swarm.deviation(context.random);
  switch (context.random.below(4)) {
    case 0:
      deviation->cpu = context.any_cpu();
      break;
    case 1:
      deviation->arg = context.random.below(256);
      break;
    case 2:
      deviation->kind = other.kind;
      break;
    default:
      deviation->kind = other.kind;
      deviation->arg = other.arg;
  }
}

void swap_deviations(Context& context) {
  Deviation* one = context.any_deviation();
  Deviation* other = context.any_deviation();
  if (one != nullptr) std::swap(*one, *other);
}

/// The strategy decides from that moment on. There is one such moment, the first.
void aim_at(Context& context, unsigned index, unsigned delay) {
  DeviationList& list = context.scenario.deviations;
  for (unsigned i = list.size(); i-- > 0;) {
    if (list[i].kind == EventKind::aim) list.erase(i);
  }
  if (list.full()) list.erase(list.size() - 1);
  Deviation added{.kind = EventKind::aim};
  added.delay = delay;
  added.cpu = context.any_cpu();
  added.arg = context.random.below(shape(EventKind::aim).args());
  list.insert(std::min(index, list.size()), added);
}

/// At the end of the list as often as anywhere in it.
void aim(Context& context) {
  Random& random = context.random;
  const unsigned size = context.scenario.deviations.size();
  const unsigned index = random.chance(1, 2) ? size : random.below(size + 1);
  aim_at(context, index, random.mostly_small(kLongestDelay));
}

/// From the first operation on: the strategy takes the list for wishes (fuzz/schedule/schedule.h).
void aim_from_the_start(Context& context) { aim_at(context, 0, 0); }

void change_header(Context& context) {
  Header other;
  vary_header(context.random, other);
  Header& header = context.scenario.header;
  switch (context.random.below(7)) {
    case 0:
      header.cpus = context.random.between(1, kByteCpus);
      break;
    case 1:
      header.mms = context.random.between(1, kMaxMms);
      break;
    case 2:
      header.pcid = !header.pcid;
      break;
    case 3:
      header.concurrent = !header.concurrent;
      break;
    case 4: {
      const auto field = kHeaderSwitches[context.random.below(kHeaderSwitches.size())].field;
      header.*field = !(header.*field);
      break;
    }
    case 5:
      header.backend = static_cast<Backend>(
          (static_cast<unsigned>(header.backend) + context.random.between(1, kBackends - 1)) %
          kBackends);
      break;
    default:
      header.ceiling = other.ceiling;
  }
}

using Mutation = void (*)(Context& context);
constexpr std::array<Mutation, 20> kMutations{
    insert_op,        erase_op,         erase_ops_in_a_row, change_op,       replace_op,
    copy_op,          swap_ops,         make_ops_meet,      rewrite_program, restrict_kinds,
    swap_programs,    copy_program,     insert_deviation,   erase_deviation, erase_last_deviations,
    retime_deviation, change_deviation, swap_deviations,    change_header,   aim,
};

/// Drops records from the ends until the scenario's bytes fit, and writes them.
std::size_t write(Scenario& scenario, std::span<std::uint8_t> out, Random& random) {
  while (encoded_size(scenario) > out.size()) {
    const unsigned deviations = scenario.deviations.size();
    const unsigned ops = count_ops(scenario);
    if (ops + deviations == 0) break;
    if (random.below(ops + deviations) < deviations) {
      scenario.deviations.erase(deviations - 1);
    } else {
      const auto longest =
          std::max_element(scenario.ops.begin(), scenario.ops.end(),
                           [](const OpList& a, const OpList& b) { return a.size() < b.size(); });
      longest->erase(longest->size() - 1);
    }
  }
  std::array<std::uint8_t, kMaxBytes> bytes;
  const std::size_t size = std::min(encode(scenario, bytes), out.size());
  if (size != 0) std::memcpy(out.data(), bytes.data(), size);
  return size;
}

template <class List>
void splice(const List& head, const List& tail, Random& random, List& child) {
  child = head;
  if (random.chance(1, 3)) return;
  const unsigned kept = random.below(head.size() + 1);
  const unsigned first = random.below(tail.size() + 1);
  while (child.size() > kept) child.erase(child.size() - 1);
  for (unsigned i = first; i < tail.size() && !child.full(); ++i) child.push_back(tail[i]);
}

}  // namespace

void mutate(Scenario& scenario, Random& random) {
  constexpr unsigned kAttempts = 16;
  const Scenario original = scenario;
  for (unsigned attempt = 0; attempt < kAttempts && scenario == original; ++attempt) {
    const WildWeights<kMutations.size()> weights(random);
    for (unsigned steps = 1 + random.mostly_small(7); steps > 0; --steps) {
      // A new swarm for each step, because the step before may have changed the header.
      const Swarm swarm(random, scenario.header);
      Context context{scenario, random, swarm};
      kMutations[weights.pick(random)](context);
      normalise(scenario);
    }
  }
}

void cross_over(const Scenario& first, const Scenario& second, Random& random, Scenario& child) {
  const std::array parents{&first, &second};
  child.header = parents[random.below(2)]->header;
  // One CPU's program makes sense next to the programs it was found with, so half of the time all
  // programs come from one parent and the schedule from the other.
  const bool mixes_programs = random.chance(1, 2);
  const unsigned one = random.below(2);
  for (unsigned cpu = 0; cpu < kMaxCpus; ++cpu) {
    if (!mixes_programs) {
      child.ops[cpu] = parents[one]->ops[cpu];
      continue;
    }
    const unsigned head = random.below(2);
    splice(parents[head]->ops[cpu], parents[1 - head]->ops[cpu], random, child.ops[cpu]);
  }
  splice(parents[1 - one]->deviations, parents[one]->deviations, random, child.deviations);
  normalise(child);
}

std::size_t mutate(std::span<std::uint8_t> buffer, std::size_t size, std::uint32_t seed,
                   ByteMutator mutate_bytes) {
  Random random(seed);
  if (mutate_bytes != nullptr && random.chance(1, 8)) {
    return mutate_bytes(buffer.data(), size, buffer.size());
  }
  Scenario scenario;
  decode(buffer.first(size), scenario);
  // Most bugs need a lucky scenario more than a long row of small changes, and a schedule that aims
  // more than one that was changed step by step: docs/findings.md has what each share is worth.
  const bool is_new = random.chance(1, 2);
  if (is_new) {
    generate(random.next(), kEverywhere, scenario);
  } else {
    mutate(scenario, random);
  }
  if (random.chance(3, 4)) {
    const Swarm swarm(random, scenario.header);
    Context context{scenario, random, swarm};
    is_new ? aim_from_the_start(context) : aim(context);
  }
  return write(scenario, buffer, random);
}

std::size_t cross_over(std::span<const std::uint8_t> first, std::span<const std::uint8_t> second,
                       std::span<std::uint8_t> out, std::uint32_t seed) {
  Random random(seed);
  Scenario one;
  Scenario other;
  Scenario child;
  decode(first, one);
  decode(second, other);
  cross_over(one, other, random, child);
  return write(child, out, random);
}

}  // namespace shootdown::fuzz
