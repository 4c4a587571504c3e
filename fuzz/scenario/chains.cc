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
  far,    // a small page behind another page table; a move goes there
  there,  // the same page of the next mm
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
using Chain = std::array<Link, 8>;
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

struct Themed {
  Theme theme;
  Duet duet;
};
/// Duets of the themes. A lazy CPU goes on with what leaves it lazy, so that it can walk.
constexpr auto kThemed = [] {
  using enum OpKind;
  using enum Where;
  constexpr Chain kLazy{switch_to, read, idle, kernel_read, kernel_read, kernel_read, kernel_read};
  constexpr Chain kMapsAndIsLazy{switch_to, map, read, idle, kernel_read, kernel_read, kernel_read};
  constexpr Chain kMapsSmallAndIsLazy{switch_to,   map_small,   read,       idle,
                                      kernel_read, kernel_read, kernel_read};
  constexpr Chain kComesBack{switch_to, read, {switch_to, there}, idle,
                             switch_to, read, {switch_to, there}, switch_to};
  constexpr Chain kChangesMms{Link(switch_to, there),
                              switch_to,
                              {switch_to, there},
                              switch_to,
                              {switch_to, there},
                              switch_to,
                              read,
                              {switch_to, there}};
  constexpr Chain kTakesTurns{switch_to, read, {switch_to, there}, {read, there}, switch_to, read};
  return std::to_array<Themed>({
      {Theme::small_after_large, {{{map, unmap, map_small, unmap, free_table}, kLazy}}},
      {Theme::small_after_large,
       {{{unmap, map_small, free_table, unmap, map_small}, kMapsAndIsLazy}}},
      {Theme::small_after_large, {{{map, split, free_table, map, split, collapse}, kLazy}}},
      {Theme::small_after_large, {{{split, free_table, split, free_table}, kMapsAndIsLazy}}},
      {Theme::small_after_large,
       {{{reclaim, {unmap, small}, map_small, free_table, map}, kMapsAndIsLazy}}},
      {Theme::small_after_large,
       {{{reclaim, map_small, free_table, reclaim, batch_flush, map_small}, kMapsAndIsLazy}}},
      {Theme::large_after_small,
       {{{unmap, free_table, map, free_table, map_small}, kMapsSmallAndIsLazy}}},
      {Theme::large_after_small,
       {{{unmap, reclaim_tables, map, unmap, map_small}, kMapsSmallAndIsLazy}}},
      {Theme::large_after_small,
       {{{reclaim, free_table, map, reclaim, map_small}, kMapsSmallAndIsLazy}}},
      {Theme::large_after_small,
       {{{reclaim, reclaim_tables, map, unmap, map_small}, kMapsSmallAndIsLazy}}},
      {Theme::large_after_small,
       {{{map_small, collapse, unmap, map_small, collapse}, kMapsSmallAndIsLazy}}},
      {Theme::large_after_small, {{{map, split, unmap, free_table, map, split}, kLazy}}},
      {Theme::walkers,
       {{{walk, walk, walk, walk, walk, walk}, {free_table, map, free_table, map, free_table}}}},
      {Theme::walkers,
       {{{walk, walk, walk, walk, walk, walk},
         {free_table, {free_table, far}, map, {map, far}, {free_table, far}, free_table}}}},
      {Theme::walkers,
       {{{walk, walk, walk, walk, walk, walk},
         {unmap, reclaim_tables, map, unmap, reclaim_tables, map, free_table}}}},
      {Theme::batches,
       {{{flush_mm, {flush_mm, there}, reclaim, {reclaim, there}, batch_flush}, kTakesTurns}}},
      {Theme::batches,
       {{{reclaim, {reclaim, there}, batch_flush, map, reclaim, {reclaim, there}, batch_flush},
         kTakesTurns}}},
      {Theme::transitions,
       {{{Link(flush_mm, there), switch_to, flush_mm, unmap, map, unmap}, kChangesMms}}},
      {Theme::transitions,
       {{{Link(flush_mm, there), switch_to, unmap, unmap, map, flush_mm, unmap}, kChangesMms}}},
      {Theme::endings,
       {{{leave, flush_mm, exit, flush_mm, exit}, {switch_to, idle, leave, switch_to, idle}}}},
      {Theme::endings,
       {{{Link(switch_to, there), flush_mm, exit, flush_mm, exit},
         {switch_to, read, idle, {switch_to, there}, switch_to, idle, {switch_to, there}}}}},
      {Theme::switches, {{{unmap, map, unmap, map, unmap}, kComesBack}}},
      {Theme::switches, {{{reclaim, batch_flush, map, reclaim, batch_flush}, kComesBack}}},
      {Theme::hotplug,
       {{{unmap, map, flush_mm, unmap, map, flush_mm},
         {switch_to, read, offline, online, switch_to, read, offline, online}}}},
      {Theme::hotplug,
       {{{flush_mm, flush_mm, flush_mm, flush_mm, flush_mm, flush_mm},
         {switch_to, offline, online, switch_to, offline, online, switch_to, offline}}}},
      {Theme::moves,
       {{{Link(move, far), {move, far}, {move, far}, {move, far}, {move, far}, {move, far}},
         {Link(free_table, far), {map, far}, {free_table, far}, {map, far}, {free_table, far}}}}},
      {Theme::moves,
       {{{Link(move, far), map, {move, far}, map, {move, far}, {move, far}},
         {free_table, map, free_table, map, free_table, map}}}},
      {Theme::moving_walkers,
       {{{walk, walk, walk, walk, walk, walk, walk, walk},
         {free_table, walk, {free_table, far}, map, walk, free_table}}}},
      {Theme::moving_walkers,
       {{{walk, walk, walk, walk, walk, walk, walk, walk},
         {walk, free_table, walk, map, walk, free_table, walk}}}},
  });
}();

/// Where the chains of a run meet: now and then on a large page.
Op meeting_point(Random& random, const Swarm& swarm) {
  Op model = swarm.op(random, OpKind::map);
  if (random.chance(1, 3)) model.page = page_for(shape(OpKind::split), model.page);
  return model;
}

/// The page of `model` as a link sees it.
Op seen_from(const Op& model, Where where, unsigned mms) {
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
    case Where::far:
      op.page = static_cast<std::uint8_t>((model.page + (kSmallPages / 2)) % kSmallPages);
      op.count = 1;
      break;
    case Where::there:
      op.mm = static_cast<std::uint8_t>((model.mm + 1) % mms);
      break;
  }
  return op;
}

/// Where the chain happens: those that split pages are about large ones, from their first
/// operation on.
Op place_of(const Chain& chain, Op model) {
  for (const Link& link : chain) {
    if (link.kind == OpKind::kCount) break;
    const OpShape& used = shape(link.kind);
    if (used.first_page != 0) model.page = page_for(used, model.page);
  }
  return model;
}

/// Adds the operations of the chain while there are fewer than `size`.
void add_links(const Chain& chain, const Swarm& swarm, const Op& model, unsigned size,
               Program& program) {
  const Op place = place_of(chain, model);
  for (const Link& link : chain) {
    if (link.kind == OpKind::kCount || program.size() >= size) break;
    Op op = swarm.op_like(seen_from(place, link.where, swarm.mms()), link.kind);
    if (link.kind == OpKind::move && link.where == Where::far) {
      op.count = static_cast<std::uint8_t>(op.page + 1);
      op.page = place.page % kSmallPages;
    }
    program.push_back(op);
  }
}

const Duet& duet_of(unsigned number) {
  return number < kDuets.size() ? kDuets[number] : kThemed[number - kDuets.size()].duet;
}

/// The number of some duet of the theme.
unsigned some_duet_of(Theme theme, Random& random) {
  unsigned chosen = 0;
  unsigned seen = 0;
  for (unsigned i = 0; i < kThemed.size(); ++i) {
    if (kThemed[i].theme == theme && random.below(++seen) == 0) chosen = i;
  }
  return static_cast<unsigned>(kDuets.size()) + chosen;
}

}  // namespace

Chains::Chains(Random& random, const Swarm& common, const Focus* focus)
    : any_(random.chance(1, 2)), known_(focus == nullptr ? kPlainChains : kChains.size()) {
  const Theme theme = focus == nullptr ? Theme::none : focus->theme;
  const bool plays_theme = theme != Theme::none && random.chance(3, 4);
  any_ |= plays_theme;
  if (!any_) return;
  meeting_ = meeting_point(random, common);
  if (plays_theme) {
    is_themed_ = true;
    duet_ = 1 + some_duet_of(theme, random);
    repeats_ = random.chance(1, 2);
    // All CPUs start on mm 0, which is "there" then.
    if (random.chance(1, 2)) meeting_.mm = static_cast<std::uint8_t>(common.mms() - 1);
  } else if (random.chance(1, 2)) {
    duet_ = 1 + random.below(focus == nullptr ? kPlainDuets : kDuets.size() + kThemed.size());
  }
  if (duet_ == 0) return;
  // Both CPUs mean the same page.
  for (const Chain& chain : duet_of(duet_ - 1)) meeting_ = place_of(chain, meeting_);
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
      add_links(duet_of(duet_ - 1)[cpu == 0 ? 0 : 1], swarm, meeting_, size, program);
      plays = repeats_;
    } else if (any_ && (!is_themed_ || program.size() >= kBeginning) && other.chance(1, 3)) {
      add_chain(other, swarm, size, program);
    } else {
      program.push_back(swarm.op(random));
    }
  }
}

}  // namespace shootdown::fuzz
