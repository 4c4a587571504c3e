#include "fuzz/scenario/chains.h"

#include <algorithm>

namespace shootdown::fuzz {

namespace {

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
      // From here on: not in plain runs, whose seeds mean what they meant.
      {split, reclaim, reclaim_tables, map, write},
      {reclaim, reclaim_tables, map, read},
      {map, split, read, free_table, map, read},
      {fork, cow, write, read},
      {fork, write, read, switch_to, read, write},
      {write, fork, cow, exit, read},
      {read, move, map, read, write},
      {map, split, move, collapse, read},
      {read, offline, online, read},
      {write, leave, offline, unmap},
      {walk, reclaim, batch_flush, walk},
      {reclaim, batch_flush, leave, switch_to, read},
      {read, protect_early, write, read},
      {read, flush_range, read, unmap},
      {clean, write, clean, write},
      {kernel_map, kernel_read, kernel_unmap, kernel_map, kernel_read},
      {Link(read, small), {unmap, large}, {unmap, small}, {read, next}},
      {Link(reclaim, small), {reclaim, next}, {batch_flush}, {read, small}, {read, next}},
      // Pages of both sizes in one place, one after the other.
      {map, read, unmap, map_small, read, free_table},
      {map_small, read, reclaim, free_table, map, read},
  });
}();
/// How many of them plain runs are made of.
constexpr unsigned kPlainChains = 19;

/// What two CPUs do to a page at the same time: the first one's chain and that of the others.
using Duet = std::array<Chain, 2>;
constexpr auto kDuets = [] {
  using enum OpKind;
  return std::to_array<Duet>({
      {{{map, reclaim, batch_flush, map, reclaim, batch_flush},
        {switch_to, read, leave, switch_to, leave, switch_to}}},
      {{{switch_to, walk, walk, walk}, {unmap, map, {map, Where::next}}}},
      // From here on: not in plain runs.
      {{{walk, walk, walk}, {unmap, reclaim_tables, map, unmap, reclaim_tables}}},
      {{{walk, walk, walk}, {split, free_table, map, split, free_table}}},
      {{{map, split, read, map, split, read}, {free_table, map, split, free_table}}},
      {{{fork, write, read, fork, write, read}, {write, cow, read, write, cow, read}}},
      {{{read, leave, offline, online, switch_to, read}, {unmap, map, flush_mm, exit}}},
      {{{reclaim, batch_flush, reclaim, batch_flush}, {map, read, map, write, unmap}}},
      {{{move, map, read, move, map, read}, {read, write, read, write}}},
      {{{idle, resume, read, idle, resume, read}, {unmap, map, free_table, map, unmap}}},
      {{{read, write, read, write, read}, {protect_early, unprotect, protect_early, unprotect}}},
      {{{exit, switch_to, exit, switch_to}, {switch_to, read, leave, switch_to, read, leave}}},
      {{{kernel_map, kernel_unmap, kernel_map, kernel_unmap},
        {kernel_read, idle, kernel_read, resume}}},
      {{{read, idle, resume, read, idle, resume}, {unmap, map_small, free_table, map, split}}},
  });
}();
constexpr unsigned kPlainDuets = 2;

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
void add_links(const Chain& chain, const Swarm& swarm, Op model, unsigned size, Program& program) {
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

}  // namespace

Chains::Chains(Random& random, const Swarm& common, bool plain)
    : any_(random.chance(1, 2)), known_(plain ? kPlainChains : kChains.size()) {
  if (!any_) return;
  meeting_ = meeting_point(random, common);
  if (random.chance(1, 2)) duet_ = 1 + random.below(plain ? kPlainDuets : kDuets.size());
}

void Chains::add_chain(Random& random, const Swarm& swarm, unsigned size, Program& program) const {
  const Chain& chain = kChains[random.below(known_)];
  const Op model = random.chance(1, 2) ? meeting_ : swarm.op(random, OpKind::map);
  add_links(chain, swarm, model, size, program);
}

void Chains::fill(unsigned cpu, unsigned size, const Swarm& swarm, Random& random, Random& other,
                  Program& program) const {
  // Every program may begin with two operations that are not its own.
  constexpr unsigned kBeginning = 2;
  bool plays = duet_ != 0;
  while (program.size() < size) {
    if (plays && program.size() >= kBeginning) {
      add_links(kDuets[duet_ - 1][cpu == 0 ? 0 : 1], swarm, meeting_, size, program);
      plays = false;
    } else if (any_ && other.chance(1, 3)) {
      add_chain(other, swarm, size, program);
    } else {
      program.push_back(swarm.op(random));
    }
  }
}

}  // namespace shootdown::fuzz
