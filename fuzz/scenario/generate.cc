#include "fuzz/scenario/generate.h"

#include <algorithm>

#include "fuzz/scenario/chains.h"

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

/// Some walks stop early, and some NMIs come late.
void set_level(Random& random, Deviation& deviation) {
  const DeviationShape& used = shape(deviation.kind);
  // An NMI is as likely as not to come between two accesses of its CPU that no other CPU sees.
  const unsigned share = deviation.kind == EventKind::nmi ? 2 : 8;
  if (used.levels == 1 || !random.chance(1, share)) return;
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
    if (one.is_drawn || one.has_stream || one.has_focus) continue;
    if (random.below(++rare) == 0) chosen = one.field;
  }
  header.*chosen = !(header.*chosen);
}

/// Each of them turns in one of four runs.
void turn_switches_with_streams(std::uint64_t seed, Header& header) {
  Random random(seed ^ 0x61c88647);
  for (const HeaderSwitch& one : kHeaderSwitches) {
    if (one.has_stream && random.chance(1, 4)) header.*one.field = !(Header{}.*one.field);
  }
}

/// In one of four runs a CPU flushes a range that begins and ends within pages.
void flush_some_range(std::uint64_t seed, const Swarm& swarm, Scenario& scenario) {
  Random random(seed ^ 0x27d4eb2f);
  if (!random.chance(1, 4)) return;
  auto& program = scenario.ops[random.below(scenario.header.cpus)];
  if (program.size() == 0) return;
  program[random.below(program.size())] = swarm.op(random, OpKind::flush_range);
}

/// Threads change CPUs now and then, between the other deviations.
void move_threads(std::uint64_t seed, const GenerateOptions& options, const Focus* focus,
                  Scenario& scenario) {
  Random random(seed ^ 0x165667b1);
  const unsigned cpus = scenario.header.cpus;
  const bool always = options.migrate == Migrate::in_all || (focus != nullptr && focus->migrates);
  if (cpus == 1 || (!always && !random.chance(1, 3))) return;
  auto& deviations = scenario.deviations;
  for (unsigned left = 1 + random.mostly_small(7); left > 0 && !deviations.full(); --left) {
    Deviation added{.kind = EventKind::migrate};
    added.cpu = random.below(cpus);
    added.arg = (added.cpu + 1 + random.below(cpus - 1)) % cpus;
    const unsigned index = random.below(deviations.size() + 1);
    if (index == deviations.size()) {
      added.delay = random.mostly_small(255);
    } else {
      // Those behind it stay where they are in the schedule.
      added.delay = random.below(deviations[index].delay + 1U);
      deviations[index].delay -= added.delay;
    }
    deviations.insert(index, added);
  }
}

Mix pick_mix(Random& random) {
  if (random.chance(1, 2)) return Mix::basic;
  return random.chance(1, 2) ? Mix::memory : Mix::all;
}

/// What a run is like beside what it always was. It has a stream of its own.
struct Shape {
  const Focus* focus{nullptr};
  bool meets{false};       // all operations are about one page
  bool keeps_kinds{true};  // the operations are those of the focus
  unsigned cpus;
  unsigned ops;
  bool uneven{false};  // some programs are shorter
};

/// Four CPUs are the most likely: more pairs can meet than among two or three, and the run is not
/// much longer.
unsigned some_cpus(Random& random) {
  static constexpr std::array<std::uint8_t, 16> kCpus{1, 2, 2, 2, 3, 3, 3, 4,
                                                      4, 4, 4, 4, 4, 5, 6, 8};
  const unsigned cpus = kCpus[random.below(kCpus.size())];
  return cpus == 6 ? random.between(6, 7) : cpus;
}

unsigned some_ops(Random& random) {
  constexpr unsigned kUsual = 8;
  return random.chance(1, 2) ? kUsual : random.between(1, kMaxOpsPerCpu);
}

/// More than the byte form has room for, and in half of the runs more than a word of a mask has.
unsigned many_cpus(Random& random) {
  const unsigned least = random.chance(1, 2) && kMaxCpus > 64 ? 65 : kByteCpus + 1;
  return random.between(least, kMaxCpus);
}

/// Among many CPUs a few do what the run is about, often the last ones. The others run its mm, and
/// read and store.
class Crowd {
 public:
  Crowd(std::uint64_t seed, unsigned cpus)
      : random_(seed ^ 0xc2b2ae35), is_small_(cpus <= kByteCpus) {
    if (is_small_) return;
    busy_[0] = random_.chance(3, 4);
    for (unsigned left = random_.between(2, 5); left > 0; --left) {
      busy_[random_.chance(1, 2) ? cpus - 1 - random_.below(kByteCpus) : random_.below(cpus)] =
          true;
    }
  }
  [[nodiscard]] bool is_busy(unsigned cpu) const { return is_small_ || busy_[cpu]; }
  void fill(const Swarm& swarm, Program& program) {
    program.push_back(swarm.op(random_, OpKind::switch_to));
    for (unsigned left = random_.between(1, 2); left > 0; --left) {
      program.push_back(swarm.op(random_, random_.chance(1, 2) ? OpKind::read : OpKind::write));
    }
  }

 private:
  Random random_;
  bool is_small_;
  std::array<bool, kMaxCpus> busy_{};
};

Shape draw_shape(std::uint64_t seed, const GenerateOptions& options) {
  Random random(seed ^ 0x9e3779b1);
  Shape shape{.focus = options.focus,
              .cpus = std::clamp(options.cpus, 1U, kMaxCpus),
              .ops = std::min(options.ops_per_cpu, kMaxOpsPerCpu)};
  const std::span<const Focus> known = focuses().first(kFirstFocuses);
  const std::span<const Focus> later = focuses().subspan(kFirstFocuses);
  const unsigned chosen = random.below(static_cast<unsigned>(known.size()));
  const bool focused = random.chance(1, 2);
  if (options.focused && focused && shape.focus == nullptr) shape.focus = &known[chosen];
  if (Random other(seed ^ 0x7feb352d); shape.focus != options.focus && other.chance(1, 16)) {
    shape.focus = &later[other.below(static_cast<unsigned>(later.size()))];
  }
  const bool varies = shape.focus != nullptr || random.chance(1, 4);
  const unsigned cpus = some_cpus(random);
  const unsigned ops = some_ops(random);
  if (options.draw_cpus && varies) shape.cpus = cpus;
  if (Random many(seed ^ 0x2545f491);
      kMaxCpus > kByteCpus && options.draw_cpus && many.chance(3, 4)) {
    shape.cpus = many_cpus(many);
  }
  if (options.draw_ops && varies) shape.ops = ops;
  shape.uneven = random.chance(1, 4) && options.draw_ops && varies;
  shape.meets = random.chance(1, 3) && shape.focus != nullptr;
  shape.keeps_kinds = random.chance(3, 4);
  return shape;
}

/// A focus draws one more switch among so many, so that seeds mean what they meant.
constexpr unsigned kSwitchesBesideFocus = 20;

/// The configuration of a focus: mostly nothing but what belongs to it.
void set_focus(std::uint64_t seed, const Focus& focus, Header& header) {
  Random random(seed ^ 0x85ebca6b);
  const unsigned cpus = header.cpus;
  header = Header{};
  header.cpus = static_cast<std::uint8_t>(cpus);
  if (random.chance(1, 4)) header.mms = static_cast<std::uint8_t>(random.between(1, kMaxMms));
  if (random.chance(1, 8)) {
    const HeaderSwitch& one = kHeaderSwitches[random.below(kSwitchesBesideFocus)];
    if (one.is_drawn) header.*one.field = !(header.*one.field);
  }
  if (random.chance(1, 8)) header.ceiling = static_cast<std::uint8_t>(random.below(kMaxCeiling));
  focus.set(random, header);
}

Swarm draw_swarm(Random& random, const Header& header, const Shape& shape) {
  const Mix mix = pick_mix(random);
  if (shape.focus == nullptr || shape.focus->kinds == 0 || !shape.keeps_kinds) {
    return {random, header, mix};
  }
  return {random, header, shape.focus->kinds};
}

/// How many operations a CPU has.
unsigned size_of(Random& random, const Shape& shape) {
  return shape.uneven && random.chance(1, 2) ? random.between(1, shape.ops) : shape.ops;
}

}  // namespace

Swarm::Swarm(Random& random, const Header& header, Mix mix)
    : Swarm(random, header, kinds_of(mix)) {}

Swarm::Swarm(Random& random, const Header& header, std::uint64_t kinds)
    : op_kinds_(kinds),
      ops_(random, op_kinds_),
      deviations_(random, deviation_kinds_for(header)),
      cpus_(header.cpus),
      mms_(header.mms) {
  favourite_mm_ = random.below(mms_);
  first_page_ = random.below(kPages);
  page_window_ = 1 + random.mostly_small(kPages - 1);
  longest_delay_ = random.between(1, 255);
}

void Swarm::meet(Random& random) {
  meets_ = true;
  page_window_ = random.between(1, 2);
  const bool large = random.chance(1, 2);
  first_page_ = large ? kSmallPages : random.below(kSmallPages - 1);
}

Swarm Swarm::with_other_kinds(Random& random) const {
  Swarm other = *this;
  other.ops_ = WildWeights<kOpKinds>(random, op_kinds_);
  return other;
}

unsigned Swarm::page(Random& random) const {
  if (random.chance(1, meets_ ? 32 : 8)) return random.below(kPages);
  return (first_page_ + random.below(page_window_)) % kPages;
}

unsigned Swarm::mm(Random& random) const {
  if (meets_ && !random.chance(1, 8)) return favourite_mm_;
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
  if (used.arg_count == kWalkedPages) {
    deviation.arg = random.chance(1, 8) ? kPages + random.below(kKernelPages) : page(random);
  } else {
    const unsigned last = used.arg_count - 1;
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
  const Shape shape = draw_shape(seed, options);
  header.cpus = static_cast<std::uint8_t>(shape.cpus);
  if (options.vary_header) {
    vary_header(random, header);
    header.backend = some_backend(other);
    header.tso = other.chance(1, 2);
  }
  if (options.any_switch) turn_any_switch(seed, header);
  if (shape.focus != nullptr) set_focus(seed, *shape.focus, header);
  if (options.any_switch) turn_switches_with_streams(seed, header);
  if (options.backend != Backend::kCount) header.backend = options.backend;
  for (const HeaderSwitch* one : options.turned) {
    if (one != nullptr) header.*one->field = !(Header{}.*one->field);
  }

  Swarm common = draw_swarm(random, header, shape);
  if (shape.meets) common.meet(other);
  const Chains chains = options.chains ? Chains(other, common, shape.focus) : Chains();
  const bool has_roles = random.chance(1, 2);
  const bool starts_mapped = random.chance(1, 2);
  Crowd crowd(seed, header.cpus);
  for (unsigned cpu = 0; cpu < header.cpus; ++cpu) {
    if (!crowd.is_busy(cpu)) {
      crowd.fill(common, scenario.ops[cpu]);
      continue;
    }
    // With roles, for example, one CPU may only read while another only unmaps.
    const Swarm swarm = has_roles ? common.with_other_kinds(random) : common;
    auto& program = scenario.ops[cpu];
    const unsigned ops = size_of(other, shape);
    chains.fill(cpu, ops, swarm, random, other, program);
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
  for (Deviation& deviation : scenario.deviations) set_level(other, deviation);
  if (most != 0 && options.migrate != Migrate::never) {
    move_threads(seed, options, shape.focus, scenario);
  }
}

}  // namespace shootdown::fuzz
