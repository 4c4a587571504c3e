// The reclaim batch: one flush for pages of many address spaces, and the mark that protects code
// that meets a page whose entry is gone but not flushed.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

#include "core/broadcast_hooks.h"
#include "core/completion.h"
#include "core/cpu_mask.h"
#include "core/flush.h"
#include "core/flush_dispatch.h"
#include "core/hal.h"
#include "core/system.h"

namespace shootdown {

namespace internal {

/// How far apart the halves of `Mm::batch_marks` may be.
inline constexpr std::uint32_t kMostUnflushed = std::uint32_t{1} << 31;

/// Additions that are not known to be flushed, modulo 2^32.
constexpr std::uint32_t unflushed_additions(std::uint64_t marks) {
  return static_cast<std::uint32_t>(marks >> 32) - static_cast<std::uint32_t>(marks);
}

/// M12: the halves are equal if nothing is pending, and must not become so by counting round, after
/// 2^32 additions that no operation has settled; an mm that is only ever reclaimed from gets
/// there. So no thread leaves `add`, which the lock of an entry keeps from being preempted, while
/// they are 2^31 apart: beyond that there is at most one addition for each CPU. The lower half
/// moves to 2^30 below the upper, which says "some are pending" as before, and that is all that is
/// asked. A settle that is under way either finds its additions below the new mark, and leaves it,
/// or puts it to what it has flushed, which is true. It could be wrong after 2^32 additions during
/// its own flush, more than a minute of locked additions to one line. A distance of 0 that a settle
/// has left meanwhile is moved, too, for one needless flush.
template <Hal H>
void keep_marks_apart(Mm<H>& mm) {
  constexpr std::uint32_t kDistance = kMostUnflushed / 2;
  std::uint64_t marks = mm.batch_marks.load(std::memory_order_relaxed);
  while (unflushed_additions(marks) == 0 || unflushed_additions(marks) >= kMostUnflushed) {
    const auto flushed = static_cast<std::uint32_t>((marks >> 32) - kDistance);
    const std::uint64_t apart = (marks & ~std::uint64_t{0xffff'ffff}) | flushed;
    if (mm.batch_marks.compare_exchange(marks, apart, std::memory_order_acq_rel)) return;
  }
}

}  // namespace internal

/// A reclaimer's batch. Owned by one thread.
template <Hal H>
class ReclaimBatch {
 public:
  /// Adds `mm`, from which an entry has just been removed. Context: the page-table lock of that
  /// entry is held, and so the mark is set before another CPU can see the entry gone (M12).
  void add(System<H>& system, Mm<H>& mm) {
    // It is in no mask, so the batch would flush nothing for it.
    require<H>(!mm.is_kernel, Rule::r13, "the kernel's mm is added to a batch");
    // R1, M12: bump before the mask is read, as in a flush; a CPU that switches in later sees it.
    const Generation generation = mm.tlb_gen.fetch_add(1, std::memory_order_seq_cst) + 1;
    const std::uint64_t marks = mm.batch_marks.fetch_add(kOneAddition, std::memory_order_seq_cst);
    if (internal::unflushed_additions(marks) >= internal::kMostUnflushed) [[unlikely]] {
      internal::keep_marks_apart(mm);
    }
    mms_ |= BatchQuiet::bit_of(mm.context);
    H::trace(TraceEvent{.kind = TraceKind::batch_add, .mm = &mm, .value = generation});
    // M14: read behind the bump, as in a flush.
    const Asid global = internal::global_asid_of(system, mm);
    if (global != kNoGlobalAsid) remember(global);
    // In transition some CPUs still run the mm on ASIDs of their own: they need interrupts, the
    // others the broadcast, and this batch does both. M14: acquire, as in `flush_by_broadcast`.
    if (global == kNoGlobalAsid || mm.asid_transition.load(std::memory_order_acquire)) {
      cpus_ |= mm.cpus.read(system.mask_words());
    }
  }

  [[nodiscard]] bool empty() const { return cpus_.empty() && broadcast_ == Broadcast::none; }

  /// Flushes what was added since the last time: every target catches up with the mm that it has
  /// loaded. Context: as for `flush_tlb_mm_range`; no page-table lock is held.
  BatchQuiet flush(System<H>& system) {
    const Waiting waiting = system.calls.waiting_here("a flush needs interrupts on");
    PreemptionOff<H> guard;
    CpuState<H>& self = internal::begin_flush(system);
    internal::check_post_is_free(system, self);
    const FlushRequest<H> request{
        .mm = nullptr,
        .end = kFlushAll,
        .generation = kNoGeneration,  // R13: "none given", never "already done"
        .initiator = self.own.number,
        .reason = FlushReason::local_shootdown,
        .stride_shift = kPageShift};
    H::trace(TraceEvent{.kind = TraceKind::batch_begin, .request = &request});
    const std::uint64_t ticks = send(system, self, request, waiting);
    H::trace(TraceEvent{.kind = TraceKind::batch_end, .request = &request, .value = ticks});
    cpus_ = {};
    broadcast_ = Broadcast::none;
    return BatchQuiet(std::exchange(mms_, 0));
  }

  /// An addition, in `Mm::batch_marks`.
  static constexpr std::uint64_t kOneAddition = std::uint64_t{1} << 32;

 private:
  [[gnu::always_inline]] std::uint64_t send(System<H>& system, CpuState<H>& self,
                                            const FlushRequest<H>& request, Waiting waiting) {
    if constexpr (HalBroadcast<H>) {
      if (broadcast_ != Broadcast::none) return flush_by_broadcast(system, self, request, waiting);
    }
    return interrupt(system, self, request, waiting);
  }

  std::uint64_t interrupt(System<H>& system, CpuState<H>& self, const FlushRequest<H>& request,
                          Waiting waiting) {
    if (waiting == Waiting::closed) [[unlikely]] {
      return internal::flush_on_cpus<internal::ClosedWay<H>>(system, self, cpus_, request);
    }
    if (internal::holds<Question::is_common>(system)) {
      return internal::flush_on_cpus<internal::CommonWay<H>>(system, self, cpus_, request);
    }
    return internal::flush_on_cpus<internal::GeneralWay<H>>(system, self, cpus_, request);
  }

  /// Both halves: the broadcast for mms with global ASIDs, interrupts for all others and for
  /// CPUs on a dynamic ASID. Not in `add`: TLBSYNC waits for what this CPU has issued, and the
  /// thread may have added from another one.
  std::uint64_t flush_by_broadcast(System<H>& system, CpuState<H>& self,
                                   const FlushRequest<H>& request, Waiting waiting)
    requires HalBroadcast<H>
  {
    const std::uint64_t since = H::ticks();
    if (broadcast_ == Broadcast::one_asid) {
      internal::broadcast(system, {.scope = InvlpgbScope::context, .pcid = pcid_of(asid_)});
    } else {
      internal::broadcast(system, {.scope = InvlpgbScope::all_contexts});
    }
    static_cast<void>(interrupt(system, self, request, waiting));
    internal::await_broadcasts<H>();
    return H::ticks() - since;
  }

  enum class Broadcast : std::uint8_t { none, one_asid, all_asids };

  void remember(Asid asid) {
    const bool same = broadcast_ == Broadcast::one_asid && asid_ == asid;
    broadcast_ = broadcast_ == Broadcast::none || same ? Broadcast::one_asid : Broadcast::all_asids;
    asid_ = asid;
  }

  CpuMask<H::kMaxCpus> cpus_{};
  /// The mms that were added, as the token has them.
  std::uint64_t mms_{0};
  /// What has to be broadcast for the mms with global ASIDs.
  Broadcast broadcast_{Broadcast::none};
  Asid asid_{kNoGlobalAsid};
};

/// If a batch may hold an unflushed change of `mm`, calls `flush`, which flushes the whole mm.
/// Context: as for `flush_tlb_mm_range`, under or after the page-table lock under which the entries
/// were looked at (M12).
template <Hal H, class Flush>
void flush_batched_pending(Mm<H>& mm, Flush&& flush) {
  // The thread stays from its look at the marks until they are written: see `keep_marks_apart`.
  const PreemptionOff<H> guard;
  // Acquire pairs with the locked addition: the mark of an entry seen gone under the lock is seen
  // too.
  std::uint64_t marks = mm.batch_marks.load(std::memory_order_acquire);
  const std::uint64_t added = marks >> 32;
  if (added == (marks & 0xffff'ffff)) return;
  flush();
  // M12: additions since the load are not covered: only what was seen is marked flushed, and only
  // forwards. Release orders the flush before the mark that says so.
  while ((marks & 0xffff'ffff) != added) {
    const std::uint64_t flushed = (marks & ~std::uint64_t{0xffff'ffff}) | added;
    if (mm.batch_marks.compare_exchange(marks, flushed, std::memory_order_acq_rel)) return;
    // Another thread marked more as flushed, or added. Which is ahead is told modulo 2^32.
    if (static_cast<std::int32_t>((marks & 0xffff'ffff) - added) >= 0) return;
  }
}

/// For code that finds or changes entries of `mm` and promises that no stale ones are left.
/// Context: as for `flush_batched_pending`.
template <Hal H>
void flush_tlb_batched_pending(System<H>& system, Mm<H>& mm) {
  flush_batched_pending(mm, [&] { static_cast<void>(flush_tlb_mm(system, mm)); });
}

}  // namespace shootdown
