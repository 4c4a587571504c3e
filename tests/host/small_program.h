// Small random programs for several CPUs, and for what acts beside them, for comparing
// explorations.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "hal/host/machine.h"

namespace shootdown::host {

/// What a random program may contain.
enum class Flavour : std::uint8_t { words, waits, pages, interrupts };
/// What acts beside it: walks in several steps and evictions, NMIs, a device, faults of the
/// interrupt controller, a host, threads that change CPUs, interrupts between own accesses.
enum class Actor : std::uint8_t { walker, nmi, device, faults, host, threads, own };
inline constexpr unsigned kActors = 7;
/// Seeds of programs count by this.
inline constexpr unsigned kActorStride = 5;

struct SmallOp {
  enum Kind : std::uint8_t {
    load,
    store,
    exchange,
    fence,
    await,  // until the word is not 0
    read_page,
    write_page,
    unmap,
    remap,
    invlpg,
    interrupt,  // send it to another CPU
    off,
    on,
    retable,       // another page table is hooked in, with other pages
    forget,        // tell the device
    await_answer,  // as await, but a lost interrupt is sent again
    stay,          // preemption is off from here on
    own_load,      // of a word of this CPU, which its handlers write
    own_store,
    field_load,         // of a plain field of this CPU
    field_add,          // in two accesses
    remap_plainly,      // by a plain store
    ordered_interrupt,  // what orders stores before it, and the interrupt
  };
  Kind kind;
  unsigned object;  // word or page
};

struct SmallProgram {
  static constexpr unsigned kMaxCpus = 3;
  Memory memory{Memory::sc};
  unsigned cpus{2};
  /// A walk for a page, down to the entry of a level.
  struct Walk {
    unsigned page;
    unsigned level{1};
  };
  std::vector<Walk> fills{};
  std::array<std::vector<SmallOp>, kMaxCpus> code{};
  std::vector<SmallOp> handler{};
  bool aliased{false};  // both pages are one frame at first
  bool weak_ipi{false};
  std::vector<unsigned> evictions{};  // pages
  std::vector<SmallOp> nmi_handler{};
  unsigned nmis{0};
  std::vector<Walk> device_walks{};
  unsigned losses{0};
  unsigned duplicates{0};
  unsigned preemptions{0};
  unsigned migrations{0};
  bool own_accesses{false};

  [[nodiscard]] bool has_actors() const {
    return nmis + losses + duplicates + preemptions + migrations != 0 || own_accesses ||
           !evictions.empty() || !device_walks.empty() || !fills.empty();
  }
  [[nodiscard]] bool uses_pages() const {
    const auto any = [](const std::vector<SmallOp>& ops) {
      for (const SmallOp& op : ops) {
        if (op.kind >= SmallOp::read_page && op.kind <= SmallOp::invlpg) return true;
        if (op.kind == SmallOp::retable || op.kind == SmallOp::remap_plainly) return true;
      }
      return false;
    };
    return any(code[0]) || any(code[1]) || any(code[2]) || any(handler) || any(nmi_handler) ||
           !fills.empty() || !evictions.empty() || !device_walks.empty();
  }
};

/// Repeats itself for the same seed, on every build.
class SmallRandom {
 public:
  explicit SmallRandom(std::uint64_t seed) : state_(seed * 0x9e37'79b9'7f4a'7c15) {}
  unsigned below(unsigned bound) {
    state_ ^= state_ >> 31;
    state_ *= 0xbf58'476d'1ce4'e5b9;
    state_ ^= state_ >> 27;
    return static_cast<unsigned>((state_ >> 20) % bound);
  }
  /// One of the kinds, for one of two words or pages.
  SmallOp op(const std::vector<SmallOp::Kind>& kinds) {
    const SmallOp::Kind kind = kinds[below(static_cast<unsigned>(kinds.size()))];
    return {.kind = kind, .object = below(2)};
  }

 private:
  std::uint64_t state_;
};

/// Random, and small enough for plain enumeration most of the time.
inline SmallProgram random_program(std::uint64_t seed) {
  SmallRandom random(seed);
  const auto below = [&](unsigned bound) { return random.below(bound); };
  using enum SmallOp::Kind;
  static const std::array<std::vector<SmallOp::Kind>, 4> kKinds{{
      {load, load, store, store, exchange, fence},
      {load, store, store, store, await, exchange},
      {read_page, write_page, read_page, write_page, unmap, remap, remap_plainly, invlpg},
      {load, store, exchange, fence, interrupt, ordered_interrupt, off, on, read_page, remap},
  }};
  static const std::array<std::vector<SmallOp::Kind>, 2> kHandlers{{
      {load, store, exchange, fence},
      {invlpg, load, store, store},
  }};
  SmallProgram program;
  const auto flavour = static_cast<Flavour>(below(4));
  program.memory = below(2) == 0 ? Memory::sc : Memory::tso;
  program.cpus = below(3) == 0 ? 3 : 2;
  const auto& kinds = kKinds[static_cast<unsigned>(flavour)];
  for (unsigned cpu = 0; cpu < program.cpus; ++cpu) {
    const unsigned length = 1 + below(program.cpus == 3 ? 2 : 3);
    for (unsigned i = 0; i < length; ++i) program.code[cpu].push_back(random.op(kinds));
  }
  if (flavour == Flavour::interrupts) {
    program.handler.push_back(random.op(kHandlers[below(2)]));
  }
  if (program.uses_pages() && below(2) == 0) program.fills = {{.page = 0}};
  program.aliased = below(3) == 0;
  program.weak_ipi = below(2) == 0;
  return program;
}

/// What acts beside a program of this kind.
inline void add_actor(SmallProgram& program, Actor actor, SmallRandom& random) {
  using enum SmallOp::Kind;
  const auto walk = [&] {
    return SmallProgram::Walk{.page = random.below(2), .level = 1 + random.below(3)};
  };
  switch (actor) {
    case Actor::walker:
      // Each is a step of every CPU, an eviction two.
      program.fills = {walk(), walk()};
      program.evictions = {random.below(2)};
      if (program.cpus == 1) break;
      program.fills.resize(random.below(6) == 0 ? 2 : random.below(5) != 0);
      if (!program.fills.empty()) program.evictions = {};
      break;
    case Actor::nmi:
      program.nmis = 1 + (random.below(4) == 0 ? 1 : 0);
      program.nmi_handler = {random.op({load, store, exchange, read_page, invlpg})};
      program.handler = {random.op({load, store, exchange, invlpg})};
      break;
    case Actor::device:
      program.device_walks = {walk()};
      if (random.below(2) == 0) program.device_walks.push_back(walk());
      if (random.below(4) == 0) program.fills = {walk()};
      break;
    case Actor::faults:
      program.losses = random.below(2);
      program.duplicates = 1 - program.losses;
      program.handler = {random.op({store, store, exchange, load})};
      break;
    case Actor::host:
      program.preemptions = 1;
      program.handler = {random.op({load, store, exchange, invlpg})};
      break;
    case Actor::threads:
      program.migrations = 1;
      program.handler = {random.op({load, store, exchange})};
      break;
    case Actor::own:
      program.own_accesses = true;
      program.nmis = random.below(2);
      program.nmi_handler = {random.op({own_load, own_store, field_load, field_add, load})};
      program.handler = {random.op({own_load, own_store, field_load, field_add, store})};
      break;
  }
}

/// Random, with an actor.
inline SmallProgram random_program(Actor actor, std::uint64_t seed) {
  using enum SmallOp::Kind;
  static const std::array<std::vector<SmallOp::Kind>, kActors> kKinds{{
      {read_page, write_page, retable, unmap, remap, invlpg},
      {load, store, store, exchange, interrupt, off, on, await, read_page, remap},
      {remap, unmap, retable, forget, forget, read_page},
      {load, interrupt, interrupt, await_answer, off},
      {load, store, exchange, interrupt, off, on, read_page, write_page, remap},
      {load, store, exchange, interrupt, off, on, await, stay},
      {own_load, own_store, field_load, field_add, field_add, load, store, interrupt, off, on},
  }};
  SmallRandom random((seed * kActorStride) + static_cast<unsigned>(actor));
  SmallProgram program;
  program.memory = random.below(2) == 0 ? Memory::sc : Memory::tso;
  program.cpus = random.below(3) == 0 ? 1 : 2;
  if (actor == Actor::threads) program.cpus = 2;
  add_actor(program, actor, random);
  for (unsigned cpu = 0; cpu < program.cpus; ++cpu) {
    const bool is_short = actor == Actor::walker
                              ? program.fills.size() != 1
                              : (actor == Actor::faults || actor == Actor::threads) && cpu == 0;
    const unsigned length = 1 + random.below(program.cpus == 1 ? 4 : is_short ? 1 : 2);
    for (unsigned i = 0; i < length; ++i) {
      program.code[cpu].push_back(random.op(kKinds[static_cast<unsigned>(actor)]));
    }
  }
  return program;
}

}  // namespace shootdown::host
