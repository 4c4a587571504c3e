#include "fuzz/scenario/focus.h"

#include <algorithm>
#include <string>

namespace shootdown::fuzz {

namespace {

template <class... Kinds>
constexpr std::uint64_t bits(Kinds... kinds) {
  return (std::uint64_t{0} | ... | (std::uint64_t{1} << static_cast<unsigned>(kinds)));
}

/// What every run needs beside what it is about: translations that are made, used and taken away.
constexpr std::uint64_t kAlways = bits(OpKind::switch_to, OpKind::read, OpKind::write, OpKind::map,
                                       OpKind::unmap, OpKind::protect);
constexpr std::uint64_t kLazy =
    kAlways | bits(OpKind::idle, OpKind::resume, OpKind::leave, OpKind::reclaim,
                   OpKind::batch_flush, OpKind::free_table, OpKind::exit, OpKind::map_small);
constexpr std::uint64_t kBatch = kAlways | bits(OpKind::reclaim, OpKind::batch_flush, OpKind::leave,
                                                OpKind::flush_mm, OpKind::idle, OpKind::resume);
constexpr std::uint64_t kTables =
    kAlways | bits(OpKind::free_table, OpKind::reclaim_tables, OpKind::split, OpKind::collapse,
                   OpKind::walk, OpKind::reclaim, OpKind::batch_flush, OpKind::move,
                   OpKind::map_small);
constexpr std::uint64_t kWalks = bits(OpKind::walk, OpKind::map, OpKind::free_table);
constexpr std::uint64_t kCopies = kAlways | bits(OpKind::fork, OpKind::cow, OpKind::unprotect,
                                                 OpKind::replace, OpKind::split, OpKind::reclaim);
constexpr std::uint64_t kKernel =
    bits(OpKind::kernel_map, OpKind::kernel_read, OpKind::kernel_unmap, OpKind::flush_all,
         OpKind::switch_to, OpKind::idle, OpKind::resume, OpKind::read, OpKind::temporary);
constexpr std::uint64_t kBringUp =
    kAlways | bits(OpKind::offline, OpKind::online, OpKind::flush_mm, OpKind::exit, OpKind::idle);

template <Backend kBackend>
void above(Random&, Header& header) {
  header.backend = kBackend;
}
template <Backend kBackend>
void above_with_store_buffers(Random&, Header& header) {
  header.backend = kBackend;
  header.tso = true;
}

void some_backend(Random& random, Header& header) {
  const auto last = static_cast<unsigned>(Backend::kCount) - 1;
  header.backend = static_cast<Backend>(random.between(1, last));
}

/// A backend, or in half of the runs none.
void some_backend_or_none(Random& random, Header& header) {
  if (random.chance(1, 2)) some_backend(random, header);
}

/// What flushes without an interrupt of each target, and so does not wait for walkers.
void no_interrupts(Random& random, Header& header) {
  if (random.chance(1, 3)) {
    header.broadcast = true;
  } else {
    some_backend(random, header);
  }
}

constexpr Focus kFocuses[] = {
    {"plain", [](Random&, Header&) {}},
    {"store buffers", [](Random&, Header& header) { header.tso = true; }},
    {"compiler", [](Random&, Header& header) { header.compiler_reordering = true; }},
    {"chains of tables", some_backend_or_none, kTables},
    {"copies", [](Random&, Header& header) { header.mms = 3; }, kCopies},
    {"batches", some_backend_or_none, kBatch},
    {"lazy CPUs", some_backend_or_none, kLazy},
    {"small pages after a large one", some_backend_or_none, kLazy | kTables,
     Theme::small_after_large},
    {"a large page after small ones", some_backend_or_none, kLazy | kTables,
     Theme::large_after_small},
    {"CPUs that come back", some_backend_or_none, kLazy, Theme::switches},
    {"kernel pages", some_backend_or_none, kKernel},
    {"bring-up", some_backend_or_none, kBringUp},
    {"bring-up above a hypervisor", some_backend, kBringUp, Theme::hotplug},
    {"bring-up above the hub", above<Backend::uv_bau>, kBringUp, Theme::hotplug},
    {"isolation", [](Random&, Header& header) { header.pti = true; }},
    {"isolation, deferral",
     [](Random&, Header& header) { header.pti = header.defer_user_pages = true; }},
    {"isolation, deferral, NMIs",
     [](Random&, Header& header) { header.pti = header.defer_user_pages = header.nmi = true; }},
    {"isolation, kernel pages", [](Random&, Header& header) { header.pti = true; }, kKernel},
    {"isolation without INVPCID",
     [](Random& random, Header& header) {
       header.pti = true;
       header.invpcid = false;
       header.defer_user_pages = random.chance(1, 2);
     }},
    {"isolation without PCIDs",
     [](Random&, Header& header) {
       header.pti = true;
       header.pcid = false;
     }},
    {"kvm", above<Backend::kvm>},
    {"hyperv", above<Backend::hyperv>},
    {"xen", above<Backend::xen>},
    {"uv_bau", above<Backend::uv_bau>},
    {"kvm, store buffers", above_with_store_buffers<Backend::kvm>},
    {"hyperv, store buffers", above_with_store_buffers<Backend::hyperv>},
    {"xen, store buffers", above_with_store_buffers<Backend::xen>},
    {"uv_bau, store buffers", above_with_store_buffers<Backend::uv_bau>},
    // With more mms than are kept on dynamic ASIDs there are several global ones.
    {"broadcast",
     [](Random& random, Header& header) {
       header.broadcast = true;
       header.mms = random.between(1, kMaxMms);
     }},
    {"broadcast, batches",
     [](Random& random, Header& header) {
       header.broadcast = true;
       header.mms = random.chance(1, 2) ? 3 : random.between(2, kMaxMms);
     },
     kAlways | bits(OpKind::reclaim, OpKind::batch_flush), Theme::batches},
    {"broadcast, mms that come and go",
     [](Random&, Header& header) {
       header.broadcast = true;
       header.mms = 3;
     },
     kAlways | bits(OpKind::exit, OpKind::leave, OpKind::idle, OpKind::flush_mm), Theme::endings},
    {"broadcast, changes of ASID",
     [](Random& random, Header& header) {
       header.broadcast = true;
       // So many that there are two global ASIDs.
       header.mms = random.chance(3, 4) ? 3 : 5;
     },
     kAlways | bits(OpKind::flush_mm, OpKind::leave, OpKind::idle), Theme::transitions},
    {"broadcast, store buffers",
     [](Random& random, Header& header) {
       header.broadcast = header.tso = header.task_stores = true;
       header.mms = random.between(2, kMaxMms);
     },
     kLazy},
    {"lazy masks, loaded mm",
     [](Random&, Header& header) { header.lazy_masks = header.by_loaded_mm = true; }, kLazy,
     Theme::switches},
    {"lazy masks, loaded mm, store buffers",
     [](Random&, Header& header) { header.lazy_masks = header.by_loaded_mm = header.tso = true; },
     kLazy, Theme::switches},
    {"lazy test up front",
     [](Random& random, Header& header) {
       header.lazy_test_up_front = true;
       header.tso = random.chance(1, 2);
     },
     kLazy},
    {"early answers, NMIs", [](Random&, Header& header) { header.early = header.nmi = true; },
     kAlways | bits(OpKind::protect_early, OpKind::idle, OpKind::flush_mm)},
    {"early answers, isolation",
     [](Random& random, Header& header) {
       header.early = header.pti = true;
       header.nmi = random.chance(1, 2);
     },
     kAlways | bits(OpKind::protect_early, OpKind::idle, OpKind::flush_mm)},
    {"NMIs", [](Random&, Header& header) { header.nmi = true; }},
    {"NMIs, isolation", [](Random&, Header& header) { header.nmi = header.pti = true; }},
    {"walkers, deferred tables",
     [](Random& random, Header& header) {
       header.defer_tables = true;
       header.tso = random.chance(1, 2);
     },
     kTables},
    {"walkers, deferred tables, store buffers",
     [](Random&, Header& header) { header.defer_tables = header.tso = true; }, kTables},
    {"walkers that no flush interrupts",
     [](Random& random, Header& header) {
       no_interrupts(random, header);
       header.defer_tables = random.chance(1, 2);
       header.tso = !random.chance(1, 4);
     },
     kTables, Theme::walkers},
    {"device", [](Random&, Header& header) { header.device = true; }},
    {"lost interrupts", [](Random&, Header& header) { header.faults = true; }},
    {"erratum of INVLPG", [](Random&, Header& header) { header.invlpg_erratum = true; }, kKernel},
    {"no PCIDs", [](Random&, Header& header) { header.pcid = false; }},
    {"more mms than ASIDs",
     [](Random& random, Header& header) {
       header.mms = kMaxMms;
       header.tso = random.chance(1, 2);
     }},
    {"lists that are full",
     [](Random& random, Header& header) {
       header.small = true;
       some_backend_or_none(random, header);
     },
     kTables | kBatch},
    {"full lists above hyperv",
     [](Random& random, Header& header) {
       header.small = true;
       header.backend = Backend::hyperv;
       header.tso = random.chance(1, 2);
     },
     kTables | kBatch | bits(OpKind::flush_range, OpKind::clean)},
    {"serial flush", [](Random&, Header& header) { header.concurrent = false; }},
    {"whole flushes",
     [](Random& random, Header& header) {
       header.ceiling = static_cast<std::uint8_t>(random.below(3));
     }},
    {"plain entries", [](Random&, Header& header) { header.tso = header.plain_pte = true; }},
    {"plain entries, kernel pages",
     [](Random&, Header& header) { header.tso = header.plain_pte = true; },
     kKernel | bits(OpKind::offline, OpKind::online)},
    {"plain entries, walkers",
     [](Random&, Header& header) { header.tso = header.plain_pte = true; }, kTables},
    {"x2APIC commands", [](Random&, Header& header) { header.tso = header.weak_ipi = true; }},
    {"noted user pages",
     [](Random& random, Header& header) {
       header.pti = header.defer_user_pages = header.own_fields = true;
       header.mms = random.between(1, 2);
     },
     kAlways},
    {"walkers that change CPUs",
     [](Random& random, Header& header) {
       header.backend = random.chance(1, 2) ? Backend::hyperv : Backend::xen;
       header.mms = 1;
     },
     kWalks, Theme::moving_walkers, true},
    // From here on: kFirstFocuses.
    {"flushes with interrupts off",
     [](Random& random, Header& header) {
       header.closed_waits = true;
       header.tso = random.chance(1, 2);
       some_backend_or_none(random, header);
     },
     kTables | kBatch | kLazy},
    {"flushes with interrupts off, compiler",
     [](Random&, Header& header) { header.closed_waits = header.compiler_reordering = true; },
     kAlways | kBringUp},
    {"submitted flushes",
     [](Random& random, Header& header) {
       header.submits = true;
       header.tso = random.chance(1, 2);
       header.closed_waits = random.chance(1, 4);
     },
     kTables | kBatch | kLazy},
    {"submitted flushes, compiler",
     [](Random&, Header& header) { header.submits = header.compiler_reordering = true; },
     kAlways | bits(OpKind::free_table, OpKind::flush_mm, OpKind::idle, OpKind::resume)},
    {"submitted flushes, bring-up", [](Random&, Header& header) { header.submits = true; },
     kBringUp},
    {"reads without a lock",
     [](Random& random, Header& header) {
       some_backend_or_none(random, header);
       header.unlocked_reads = true;
       header.mms = random.between(1, 2);
     },
     kTables, Theme::moves},
};

std::string as_a_word(std::string_view name) {
  std::string word(name);
  std::erase(word, ',');
  std::replace(word.begin(), word.end(), ' ', '_');
  return word;
}

}  // namespace

std::span<const Focus> focuses() { return kFocuses; }

const Focus* find_focus(std::string_view name) {
  for (const Focus& focus : kFocuses) {
    if (focus.name == name || as_a_word(focus.name) == name) return &focus;
  }
  return nullptr;
}

}  // namespace shootdown::fuzz
