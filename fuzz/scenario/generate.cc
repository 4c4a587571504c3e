#include "fuzz/scenario/generate.h"

#include <algorithm>

namespace shootdown::fuzz {

namespace {

/// The kinds of deviation that can do something on the machine, one bit each.
std::uint64_t deviation_kinds_for(const Header& header) {
  const auto bit = [](EventKind kind) { return 1U << static_cast<unsigned>(kind); };
  std::uint64_t kinds = (1U << kPlainDeviationKinds) - 1;
  if (header.tso || header.compiler_reordering) kinds |= bit(EventKind::drain);
  if (header.compiler_reordering) kinds |= bit(EventKind::overtake) | bit(EventKind::stale);
  if (header.broadcast) kinds |= bit(EventKind::deliver);
  if (header.device) kinds |= bit(EventKind::device);
  if (header.faults) kinds |= bit(EventKind::lose) | bit(EventKind::duplicate);
  if (header.nmi) kinds |= bit(EventKind::nmi);
  if (header.backend == Backend::kvm) {
    kinds |= bit(EventKind::vcpu_preempt) | bit(EventKind::vcpu_resume);
  } else if (header.backend != Backend::native) {
    kinds |= bit(EventKind::fail);
  }
  return kinds;
}

static_assert(kOpKinds <= 63);

constexpr std::uint64_t bit_of(OpKind kind) {
  return std::uint64_t{1} << static_cast<unsigned>(kind);
}

/// The kinds of a mix, one bit each. None has `flush_range`, so that seeds mean what they meant.
constexpr std::uint64_t kinds_of(Mix mix) {
  const std::uint64_t basic = (bit_of(OpKind::exit) << 1) - 1;
  switch (mix) {
    case Mix::basic:
      return basic;
    case Mix::memory:
      return (basic & ~bit_of(OpKind::leave) & ~bit_of(OpKind::flush_mm)) |
             bit_of(OpKind::reclaim) | bit_of(OpKind::batch_flush) |
             ((bit_of(OpKind::flush_range) - 1) & ~(bit_of(OpKind::move) - 1));
    case Mix::all:
      break;
  }
  return bit_of(OpKind::flush_range) - 1;
}

/// Some walks stop early.
void stop_early(Random& random, Deviation& deviation) {
  const DeviationShape& used = shape(deviation.kind);
  if (used.levels == 1 || !random.chance(1, 8)) return;
  deviation.arg = used.arg_of(deviation.arg, random.between(2, used.levels));
}

/// In one of four runs every backend is as likely as native. In half of the runs every switch that
/// is drawn is as likely on as off, because some bugs need several; in half one of those turns that
/// are not drawn. Three of four have store buffers, which hide nothing that is found without them.
void turn_any_switch(std::uint64_t seed, Header& header) {
  Random random(seed ^ 0x5bd1e995);
  if (random.chance(1, 4)) header.backend = static_cast<Backend>(random.below(kBackends));
  header.tso |= random.chance(1, 2);
  if (random.chance(1, 2)) {
    for (const HeaderSwitch& one : kHeaderSwitches) {
      if (one.is_drawn) header.*one.field = random.chance(1, 2);
    }
  }
  if (!random.chance(1, 2)) return;
  bool Header::* chosen = nullptr;
  unsigned rare = 0;
  for (const HeaderSwitch& one : kHeaderSwitches) {
    if (!one.is_drawn && random.below(++rare) == 0) chosen = one.field;
  }
  header.*chosen = !(header.*chosen);
}

/// In one of four runs a CPU flushes a range that begins and ends within pages.
void flush_some_range(std::uint64_t seed, const Swarm& swarm, Scenario& scenario) {
  Random random(seed ^ 0x27d4eb2f);
  if (!random.chance(1, 4)) return;
  auto& program = scenario.ops[random.below(scenario.header.cpus)];
  if (program.size() == 0) return;
  program[random.below(program.size())] = swarm.op(random, OpKind::flush_range);
}

/// Which page an operation of a chain is about, seen from the chain's own.
enum class Where : std::uint8_t {
  here,
  large,  // a large page
  small,  // a small page, and where there is one the next with it
  next,   // that next one
};

/// One operation of a chain. Chains that are shorter than others end with kCount.
struct Link {
  constexpr Link(OpKind the_kind = OpKind::kCount, Where the_place = Where::here)
      : kind(the_kind), where(the_place) {}
  OpKind kind;
  Where where;
};

/// What makes sense one after another on the same page of the same mm: what a bug needs done
/// before, and what shows it. Only the first one's page and mm are drawn.
using Chain = std::array<Link, 6>;
constexpr auto kChains = [] {
  using enum OpKind;
  using enum Where;
  return std::to_array<Chain>({
      {map, split, collapse},
      {map, split, write, collapse},
      {map, read, split, write},
      {fail_allocation, free_table},
      {fail_allocation, collapse},
      {reclaim, batch_flush},
      {reclaim, protect},
      {protect, reclaim, unmap},
      {idle, resume, read},
      {write, idle, resume, write},
      {offline, online, switch_to, read},
      {kernel_map, kernel_read, kernel_unmap},
      {fork, write, cow},
      {protect, unprotect, write},
      {unmap, reclaim_tables, map, read},
      {switch_to, walk, read, walk},
      {read, leave, switch_to, read},
      {walk, walk, walk, walk},
      // Two flushes between two returns to user mode, of pages of both sizes.
      {Link(map, large), {read, large}, {read, next}, {unmap, large}, {unmap, small}, {read, next}},
  });
}();

/// What two CPUs do to a page at the same time: the first one's chain and that of the others.
using Duet = std::array<Chain, 2>;
constexpr auto kDuets = [] {
  using enum OpKind;
  return std::to_array<Duet>({
      {{{map, reclaim, batch_flush, map, reclaim, batch_flush},
        {switch_to, read, leave, switch_to, leave, switch_to}}},
      {{{switch_to, walk, walk, walk}, {unmap, map, {map, Where::next}}}},
  });
}();

/// Where the chains of a run meet: now and then on a large page.
Op meeting_point(Random& random, const Swarm& swarm) {
  Op model = swarm.op(random, OpKind::map);
  if (random.chance(1, 3)) model.page = page_for(shape(OpKind::split), model.page);
  return model;
}

/// The page of `model` as a link sees it.
Op seen_from(const Op& model, Where where) {
  Op op = model;
  const unsigned small = model.page % (kSmallPages - 1);
  switch (where) {
    case Where::here:
      break;
    case Where::large:
      op.page = page_for(shape(OpKind::split), model.page);
      break;
    case Where::small:
      op.page = small;
      op.count = 2;
      break;
    case Where::next:
      op.page = small + 1;
      op.count = 1;
      break;
  }
  return op;
}

/// Adds the operations of the chain while there are fewer than `size`.
void add_links(const Chain& chain, const Swarm& swarm, Op model, unsigned size,
               BoundedList<Op, kMaxOpsPerCpu>& program) {
  for (const Link& link : chain) {
    if (link.kind == OpKind::kCount) break;
    // Chains that split pages are about large ones, from their first operation on.
    const OpShape& used = shape(link.kind);
    if (used.first_page != 0) model.page = page_for(used, model.page);
  }
  for (const Link& link : chain) {
    if (link.kind == OpKind::kCount || program.size() >= size) break;
    program.push_back(swarm.op_like(seen_from(model, link.where), link.kind));
  }
}

void add_chain(Random& random, const Swarm& swarm, const Op& meeting, unsigned size,
               BoundedList<Op, kMaxOpsPerCpu>& program) {
  const Chain& chain = kChains[random.below(kChains.size())];
  const Op model = random.chance(1, 2) ? meeting : swarm.op(random, OpKind::map);
  add_links(chain, swarm, model, size, program);
}

/// The chains of a run.
struct Chains {
  bool any{false};
  Op meeting{};
  const Duet* duet{nullptr};
};

Chains draw_chains(Random& random, const Swarm& common) {
  Chains chains{.any = random.chance(1, 2)};
  if (!chains.any) return chains;
  chains.meeting = meeting_point(random, common);
  if (random.chance(1, 2)) chains.duet = &kDuets[random.below(kDuets.size())];
  return chains;
}

/// Fills the program of a CPU. What belongs together is drawn from `other`.
void fill_program(unsigned cpu, unsigned size, const Swarm& swarm, const Chains& chains,
                  Random& random, Random& other, BoundedList<Op, kMaxOpsPerCpu>& program) {
  // Every program may begin with two operations that are not its own.
  constexpr unsigned kBeginning = 2;
  bool plays = chains.duet != nullptr;
  while (program.size() < size) {
    if (plays && program.size() >= kBeginning) {
      add_links((*chains.duet)[cpu == 0 ? 0 : 1], swarm, chains.meeting, size, program);
      plays = false;
    } else if (chains.any && other.chance(1, 3)) {
      add_chain(other, swarm, chains.meeting, size, program);
    } else {
      program.push_back(swarm.op(random));
    }
  }
}

Mix pick_mix(Random& random) {
  if (random.chance(1, 2)) return Mix::basic;
  return random.chance(1, 2) ? Mix::memory : Mix::all;
}

}  // namespace

Swarm::Swarm(Random& random, const Header& header, Mix mix)
    : op_kinds_(kinds_of(mix)),
      ops_(random, op_kinds_),
      deviations_(random, deviation_kinds_for(header)),
      cpus_(header.cpus),
      mms_(header.mms) {
  favourite_mm_ = random.below(mms_);
  first_page_ = random.below(kPages);
  page_window_ = 1 + random.mostly_small(kPages - 1);
  longest_delay_ = random.between(1, 255);
}

Swarm Swarm::with_other_kinds(Random& random) const {
  Swarm other = *this;
  other.ops_ = WildWeights<kOpKinds>(random, op_kinds_);
  return other;
}

unsigned Swarm::page(Random& random) const {
  if (random.chance(1, 8)) return random.below(kPages);
  return (first_page_ + random.below(page_window_)) % kPages;
}

unsigned Swarm::mm(Random& random) const {
  return random.chance(1, 2) ? favourite_mm_ : random.below(mms_);
}

OpKind Swarm::op_kind(Random& random) const { return static_cast<OpKind>(ops_.pick(random)); }

bool Swarm::allows(OpKind kind) const { return ops_.allows(static_cast<unsigned>(kind)); }

Op Swarm::op(Random& random) const { return op(random, op_kind(random)); }

Op Swarm::op(Random& random, OpKind kind) const {
  const OpShape& used = shape(kind);
  Op op{.kind = kind};
  if (used.uses_mm) op.mm = mm(random);
  if (used.uses_page) op.page = page_for(used, page(random));
  if (used.uses_count) {
    op.count = 1 + random.mostly_small(max_count(used, op.page) - 1);
  }
  if (used.to == Target::page) op.count = 1 + (page(random) % kSmallPages);
  if (used.to == Target::mm) op.count = 1 + mm(random);
  return op;
}

Op Swarm::op_like(const Op& model, OpKind kind) const {
  const OpShape& used = shape(kind);
  Op op{.kind = kind};
  if (used.uses_mm) op.mm = model.mm;
  if (used.uses_page) op.page = page_for(used, model.page);
  op.count = std::min<unsigned>(model.count, counts(used, op.page, mms_));
  return op;
}

Op Swarm::map_favourites() const {
  Op op{.kind = OpKind::map};
  op.mm = favourite_mm_;
  op.page = first_page_;
  op.count = std::min(page_window_, max_count(shape(op.kind), first_page_));
  return op;
}

Deviation Swarm::deviation(Random& random) const {
  Deviation deviation;
  deviation.kind = static_cast<EventKind>(deviations_.pick(random));
  deviation.delay = random.mostly_small(longest_delay_);
  const DeviationShape& used = shape(deviation.kind);
  deviation.cpu = used.of_mm ? mm(random) : random.below(cpus_);
  if (used.levels > 1) {
    deviation.arg = random.chance(1, 8) ? kPages + random.below(kKernelPages) : page(random);
  } else {
    const unsigned last = used.args() - 1;
    deviation.arg = random.mostly_small(last);
  }
  return deviation;
}

void vary_header(Random& random, Header& header) {
  const Header defaults;
  header.mms = defaults.mms;
  if (random.chance(1, 2)) header.mms = random.between(1, kMaxMms);
  header.pcid = !random.chance(1, 8);
  header.concurrent = !random.chance(1, 4);
  // Half of the runs are plain; in the others every switch may turn.
  const bool plain = random.chance(1, 2);
  for (const HeaderSwitch& one : kHeaderSwitches) {
    if (!one.is_drawn) continue;
    header.*one.field = defaults.*one.field != (!plain && random.chance(1, 4));
  }
  header.ceiling = defaults.ceiling;
  if (random.chance(1, 4)) {
    header.ceiling = random.mostly_small(kMaxCeiling);
  }
}

Backend some_backend(Random& random) {
  if (!random.chance(1, 6)) return Backend::native;
  return static_cast<Backend>(random.between(1, kBackends - 1));
}

void generate(std::uint64_t seed, const GenerateOptions& options, Scenario& scenario) {
  Random random(seed);
  // What came later has a stream of its own, so that the scenario does not depend on it otherwise.
  Random other(~seed);
  scenario = Scenario{};
  Header& header = scenario.header;
  header.cpus = std::clamp(options.cpus, 1u, kMaxCpus);
  if (options.vary_header) {
    vary_header(random, header);
    header.backend = some_backend(other);
    header.tso = other.chance(1, 2);
  }
  if (options.any_switch) turn_any_switch(seed, header);
  if (options.backend != Backend::kCount) header.backend = options.backend;
  for (const HeaderSwitch* one : options.turned) {
    if (one != nullptr) header.*one->field = !(Header{}.*one->field);
  }

  const Swarm common(random, header, pick_mix(random));
  const Chains chains = options.chains ? draw_chains(other, common) : Chains{};
  const bool has_roles = random.chance(1, 2);
  const bool starts_mapped = random.chance(1, 2);
  const unsigned ops = std::min(options.ops_per_cpu, kMaxOpsPerCpu);
  for (unsigned cpu = 0; cpu < header.cpus; ++cpu) {
    // With roles, for example, one CPU may only read while another only unmaps.
    const Swarm swarm = has_roles ? common.with_other_kinds(random) : common;
    auto& program = scenario.ops[cpu];
    fill_program(cpu, ops, swarm, chains, random, other, program);
    // All CPUs start on mm 0 with half of its small pages mapped; more pages and other mms
    // must be asked for. CPU 0 maps because it goes first in the default schedule.
    if (ops > 0 && random.chance(3, 4)) program[0] = swarm.op(random, OpKind::switch_to);
    if (ops > 1 && cpu == 0 && starts_mapped) program[1] = common.map_favourites();
  }
  if (options.any_switch) flush_some_range(seed, common, scenario);
  const unsigned most = std::min(options.max_deviations, kMaxDeviations);
  const unsigned deviations = random.chance(1, 4) ? most : random.mostly_small(most);
  for (unsigned i = 0; i < deviations; ++i) {
    scenario.deviations.push_back(common.deviation(random));
  }
  for (Deviation& deviation : scenario.deviations) stop_early(other, deviation);
}

}  // namespace shootdown::fuzz
