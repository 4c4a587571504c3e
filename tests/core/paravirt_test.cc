// Each backend in both forms: what the hypervisor is asked, what is left to interrupts, and what
// happens when the hypervisor refuses.
#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>

#include "tests/core/paravirt_guest.h"

namespace shootdown::test {
namespace {

// ---- The table

TEST(Backends, SixOperationsEach) {
  for (const auto* ops :
       {&kNativeOps<H>, &kKvmOps<H>, &kHypervOps<H>, &kXenOps<H>, &kUvBauOps<H>}) {
    EXPECT_NE(ops->flush_user, nullptr) << ops->name;
    EXPECT_NE(ops->flush_kernel, nullptr) << ops->name;
    EXPECT_NE(ops->flush_one_user, nullptr) << ops->name;
    EXPECT_NE(ops->flush_multi, nullptr) << ops->name;
    EXPECT_NE(ops->flush_others, nullptr) << ops->name;
    EXPECT_EQ(remote_only(*ops).flush_multi, nullptr) << ops->name;
  }
}

TEST(Backends, ARemoteOnlyOneSwitchesTheConcurrentFlushOff) {
  Four guest(kHypervOps<H>, /*concurrent=*/false);
  EXPECT_FALSE(guest.system.plan().concurrent);
  EXPECT_EQ(guest.system.plan().way, FlushWay::by_hypercall);
  Four other(kHypervOps<H>);
  EXPECT_TRUE(other.system.plan().concurrent);
}

TEST(Backends, AreSelectedBehindTheSystem) {
  // The other way round, the system would put the native table in the place of the backend's.
  const auto fresh = std::make_unique<System<H>>();
  EXPECT_EQ(refusal_of([&] { select_backend(*fresh, kKvmOps<H>); }),
            "R13: a backend is selected before the system");
}

TEST(Backends, AreNotSelectedWhileACpuIsUp) {
  Four guest(kKvmOps<H>);
  EXPECT_EQ(refusal_of([&] { select_backend(guest.system, kNativeOps<H>); }),
            "R13: what boot fixes is changed while a CPU is up");
  EXPECT_EQ(guest.system.ops(), &guest.ops);
}

TEST(Backends, TheNativeTableIsNotLookedAt) {
  Four guest(kNativeOps<H>);
  EXPECT_EQ(guest.system.plan().way, FlushWay::by_interrupt);
  H::vcpus[1].poke(kVcpuPreempted);
  guest.run_mm_on({0, 1});
  guest.flush();
  EXPECT_EQ(interrupted(), std::vector<std::uint64_t>{0b10});
}

TEST(Backends, WhoeverDoesNotInterruptLetsTablesWaitForWalkers) {
  EXPECT_EQ(kNativeOps<H>.remove_table, TableRemoval::at_once);
  EXPECT_EQ(kUvBauOps<H>.remove_table, TableRemoval::at_once);
  for (const auto* ops : {&kKvmOps<H>, &kHypervOps<H>, &kXenOps<H>}) {
    EXPECT_EQ(ops->remove_table, TableRemoval::after_walkers) << ops->name;
    Four guest(*ops);
    EXPECT_FALSE(flush_interrupts_targets(guest.system));
  }
  Four bau(kUvBauOps<H>);
  EXPECT_TRUE(flush_interrupts_targets(bau.system));
}

TEST(Backends, TheTokenOfFreedTablesPermitsTheirReleaseBehindTheWalkers) {
  for (const auto* ops : {&kKvmOps<H>, &kHypervOps<H>, &kXenOps<H>, &kUvBauOps<H>}) {
    Four guest(*ops);
    guest.run_mm_on({0, 1});
    TablesUnreachable tables = flush_tlb_mm_range_freed_tables(guest.system, guest.mm, {});
    recorder.clear();
    EXPECT_TRUE(exclude_walkers(guest.system, std::move(tables)).covers(guest.mm));
    const bool waits = ops->remove_table == TableRemoval::after_walkers;
    EXPECT_COUNT(waits ? 1u : 0u, "send interrupt") << ops->name;
  }
}

TEST(Backends, NobodyElseIsNobodyToAsk) {
  for (const auto* ops : {&kKvmOps<H>, &kHypervOps<H>, &kXenOps<H>, &kUvBauOps<H>}) {
    for (const bool concurrent : {true, false}) {
      Four guest(*ops, concurrent);
      guest.run_mm_on({0});
      H::xen_calls.clear();
      guest.flush();
      EXPECT_EQ(guest.counters().remote_hypercalls, 0u) << ops->name;
      EXPECT_TRUE(H::hyperv_calls.empty() && H::bau_calls.empty()) << ops->name;
      EXPECT_TRUE(interrupted().empty()) << ops->name;
    }
  }
}

TEST(Backends, ATargetSetThatIsAllLazyIsNobodyToAsk) {
  for (const auto* ops : {&kKvmOps<H>, &kHypervOps<H>, &kXenOps<H>, &kUvBauOps<H>}) {
    Four guest(*ops, /*concurrent=*/false);
    guest.run_mm_on({0, 1});
    guest.idle(1);
    recorder.clear();
    guest.flush();
    EXPECT_EQ(guest.counters().remote_hypercalls, 0u) << ops->name;
    EXPECT_TRUE(H::hyperv_calls.empty() && H::bau_calls.empty()) << ops->name;
    EXPECT_TRUE(interrupted().empty()) << ops->name;
  }
}

TEST(Backends, TheLastFlushOfAnMmInterrupts) {
  // Lazy CPUs have to leave it, and no other CPU or host can do that for them.
  for (const auto* ops : {&kKvmOps<H>, &kHypervOps<H>, &kXenOps<H>, &kUvBauOps<H>}) {
    Four guest(*ops);
    guest.run_mm_on({1});
    guest.idle(1);
    H::vcpus[1].poke(kVcpuPreempted);
    recorder.clear();
    guest.exit();
    EXPECT_EQ(interrupted(), std::vector<std::uint64_t>{0b10}) << ops->name;
    EXPECT_TRUE(guest.loaded(1)->is_kernel) << ops->name;
    EXPECT_EQ(guest.counters().remote_hypercalls, 0u) << ops->name;
  }
}

TEST(Backends, AFlushThatTrimsTheMaskInterrupts) {
  for (const auto* ops : {&kKvmOps<H>, &kHypervOps<H>, &kXenOps<H>, &kUvBauOps<H>}) {
    Four guest(*ops, true,
               {.targets = {.mask_policy = MaskPolicy::kept_lazily, .trim_interval = 1}});
    guest.switch_to(1, guest.mm);
    guest.switch_to(1, guest.other);
    guest.run_mm_on({0});
    guest.flush();
    EXPECT_EQ(interrupted(), std::vector<std::uint64_t>{0b10}) << ops->name;
    EXPECT_FALSE(guest.mm.cpus.test(1)) << ops->name;
  }
}

TEST(Backends, TheLocalPartComesFirstInTheRemoteOnlyForm) {
  for (const auto* ops : {&kKvmOps<H>, &kHypervOps<H>, &kUvBauOps<H>}) {
    Four guest(*ops, /*concurrent=*/false);
    guest.run_mm_on({0, 1});
    guest.flush();
    const std::string remote = ops == &kKvmOps<H>      ? "send interrupt"
                               : ops == &kHypervOps<H> ? "hypercall"
                                                       : "hub message";
    EXPECT_BEFORE(first("invlpg", 0), first(remote)) << ops->name;
    EXPECT_EQ(guest.generation(0), guest.mm.tlb_gen.peek()) << ops->name;
  }
}

TEST(Backends, AHypercallAdvancesNobodysGeneration) {
  for (const auto* ops : {&kHypervOps<H>, &kXenOps<H>, &kUvBauOps<H>}) {
    Four guest(*ops, /*concurrent=*/false);
    guest.run_mm_on({0, 1});
    const Generation before = guest.generation(1);
    guest.flush();
    EXPECT_EQ(guest.generation(1), before) << ops->name;
    // It comes back with the next switch: full, because more than nothing is missing.
    guest.switch_to(1, guest.other);
    recorder.clear();
    guest.switch_to(1, guest.mm);
    EXPECT_EQ(values("write CR3", 1).at(0) & kCr3KeepEntries, 0u) << ops->name;
  }
}

// ---- KVM

TEST(Kvm, APreemptedTargetIsFlaggedAndNotInterrupted) {
  for (const bool concurrent : {true, false}) {
    Four guest(kKvmOps<H>, concurrent);
    guest.run_mm_on({0, 1, 2});
    H::vcpus[1].poke(kVcpuPreempted);
    guest.flush();
    EXPECT_EQ(H::vcpus[1].peek(), kVcpuPreempted | kVcpuFlushOnEntry);
    EXPECT_EQ(H::vcpus[2].peek(), 0);
    EXPECT_EQ(interrupted(), std::vector<std::uint64_t>{0b100});
    EXPECT_EQ(guest.counters().vcpus_skipped, 1u);
    const auto skips = events(TraceKind::vcpu_skipped);
    ASSERT_EQ(skips.size(), 1u);
    EXPECT_EQ(skips[0].value, 1u);
  }
}

TEST(M17_Kvm, TheFlagComesAfterTheBumpAndByCompareAndSwap) {
  Four guest(kKvmOps<H>);
  recorder.names[&H::vcpus[1]] = "vcpu1";
  guest.run_mm_on({0, 1});
  H::vcpus[1].poke(kVcpuPreempted);
  guest.flush();
  EXPECT_BEFORE("add mm.tlb_gen", "load vcpu1");
  EXPECT_ORDER("push vcpu1", std::memory_order_seq_cst);
  EXPECT_NONE_OF("store vcpu1", "or vcpu1");
}

TEST(Kvm, ATargetThatTheHostTakesBackMeanwhileIsInterrupted) {
  Four guest(kKvmOps<H>);
  recorder.names[&H::vcpus[1]] = "vcpu1";
  guest.run_mm_on({0, 1});
  H::vcpus[1].poke(kVcpuPreempted);
  recorder.before = [](const Entry& entry) {
    if (is(entry, "push vcpu1")) H::vcpus[1].poke(0);
  };
  guest.flush();
  EXPECT_EQ(H::vcpus[1].peek(), 0) << "a flag that the host would not read";
  EXPECT_EQ(interrupted(), std::vector<std::uint64_t>{0b10});
}

TEST(Kvm, AFlagThatIsSetAlreadyIsConfirmed) {
  Four guest(kKvmOps<H>);
  recorder.names[&H::vcpus[1]] = "vcpu1";
  guest.run_mm_on({0, 1});
  H::vcpus[1].poke(kVcpuPreempted | kVcpuFlushOnEntry);
  guest.flush();
  EXPECT_ONCE("push vcpu1");
  EXPECT_TRUE(interrupted().empty());
  recorder.clear();
  recorder.before = [](const Entry& entry) {
    if (is(entry, "push vcpu1")) H::vcpus[1].poke(0);
  };
  guest.flush();
  EXPECT_EQ(interrupted(), std::vector<std::uint64_t>{0b10}) << "it was consumed meanwhile";
}

TEST(Kvm, OnlyThePreemptedBitMeansPreempted) {
  Four guest(kKvmOps<H>);
  guest.run_mm_on({0, 1});
  H::vcpus[1].poke(kVcpuFlushOnEntry);
  guest.flush();
  EXPECT_EQ(interrupted(), std::vector<std::uint64_t>{0b10});
}

TEST(Kvm, ALazyTargetKeepsItsTranslations) {
  Four guest(kKvmOps<H>);
  guest.run_mm_on({0, 1});
  guest.idle(1);
  H::vcpus[1].poke(kVcpuPreempted);
  guest.flush();
  EXPECT_EQ(H::vcpus[1].peek(), kVcpuPreempted);
}

TEST(Kvm, FreedTablesReachALazyPreemptedTargetThroughTheHost) {
  Four guest(kKvmOps<H>);
  guest.run_mm_on({0, 1});
  guest.idle(1);
  H::vcpus[1].poke(kVcpuPreempted);
  static_cast<void>(
      flush_tlb_mm_range_freed_tables(guest.system, guest.mm, {.start = 0x5000, .end = 0x6000}));
  EXPECT_EQ(H::vcpus[1].peek(), kVcpuPreempted | kVcpuFlushOnEntry);
}

// ---- Hyper-V

TEST(Hyperv, OnePageOnTheTargets) {
  Four guest(kHypervOps<H>, /*concurrent=*/false);
  guest.run_mm_on({0, 1, 3});
  guest.flush();
  ASSERT_EQ(H::hyperv_calls.size(), 1u);
  EXPECT_EQ(H::hyperv_calls[0].control, 0x0003u | (std::uint64_t{1} << 32));
  EXPECT_EQ(H::hyperv_calls[0].page[0], Four::kRoot) << "without the PCID";
  EXPECT_EQ(H::hyperv_calls[0].page[2], 0b10'1000u) << "processors 3 and 5 are CPUs 1 and 3";
  EXPECT_EQ(H::hyperv_calls[0].page[3], 0x5000u);
  EXPECT_NEVER("hypercall, interrupts on");
  EXPECT_TRUE(interrupted().empty());
  EXPECT_EQ(guest.counters().remote_flush_sent, 1u);
}

TEST(Hyperv, TheConcurrentFormNamesThisCpuAsWell) {
  Four guest(kHypervOps<H>);
  guest.run_mm_on({0, 1});
  guest.flush_all();
  ASSERT_EQ(H::hyperv_calls.size(), 1u);
  EXPECT_EQ(H::hyperv_calls[0].control, 0x0002u);
  EXPECT_EQ(H::hyperv_calls[0].page[2], 0b1100u);
}

TEST(Hyperv, MmsAreNotToldApartUnderIsolationAndInBatches) {
  Four isolated(kHypervOps<H>, false, {.isolation = {.enabled = true}});
  isolated.run_mm_on({0, 1});
  isolated.flush();
  ASSERT_EQ(H::hyperv_calls.size(), 1u);
  EXPECT_EQ(H::hyperv_calls[0].page[1], kHypervAllAddressSpaces);

  Four guest(kHypervOps<H>, false);
  guest.run_mm_on({0, 1});
  ReclaimBatch<H> batch;
  batch.add(guest.system, guest.mm);
  static_cast<void>(batch.flush(guest.system));
  ASSERT_EQ(H::hyperv_calls.size(), 1u);
  EXPECT_EQ(H::hyperv_calls[0].page[1], kHypervAllAddressSpaces | kHypervNonGlobalOnly);
}

TEST(Hyperv, AProcessorThatIsNotKnownIsNotProcessor0) {
  Four guest(kHypervOps<H>);
  H::processors[2] = kNoProcessor;
  guest.run_mm_on({0, 1, 2});
  guest.flush();
  EXPECT_TRUE(H::hyperv_calls.empty());
  EXPECT_EQ(interrupted(), std::vector<std::uint64_t>{0b110});
  EXPECT_EQ(guest.counters().native_fallbacks, 1u);
  EXPECT_EQ(guest.generation(0), guest.mm.tlb_gen.peek()) << "this CPU, too";
}

TEST(Hyperv, AnyFailureFallsBackToInterrupts) {
  for (const bool concurrent : {true, false}) {
    Four guest(kHypervOps<H>, concurrent);
    H::hyperv_results = {3};
    guest.run_mm_on({0, 1});
    guest.flush();
    EXPECT_EQ(H::hyperv_calls.size(), 1u);
    EXPECT_EQ(interrupted(), std::vector<std::uint64_t>{0b10});
    EXPECT_EQ(guest.generation(0), guest.mm.tlb_gen.peek());
    EXPECT_EQ(guest.generation(1), guest.mm.tlb_gen.peek());
    EXPECT_EQ(guest.counters().remote_flush_sent, 1u) << "one flush, however often it is tried";
  }
}

TEST(Hyperv, AListIsContinuedWhereTheHypervisorStopped) {
  Four guest(kHypervOps<H>, false, {.limits = {.ceiling_strides = 20000}});
  H::hyperv_results = {std::uint64_t{1} << 32, std::uint64_t{3} << 32};
  guest.run_mm_on({0, 1});
  guest.flush((2 * 4096) + 1);
  ASSERT_EQ(H::hyperv_calls.size(), 2u);
  EXPECT_EQ((H::hyperv_calls[0].control >> 32) & 0xfff, 3u);
  EXPECT_EQ(H::hyperv_calls[0].control >> 48, 0u);
  EXPECT_EQ(H::hyperv_calls[1].control >> 48, 1u);
  EXPECT_TRUE(interrupted().empty());
}

TEST(Hyperv, ACallThatGetsNoFurtherFallsBack) {
  for (const std::uint64_t done : {0U, 1U}) {
    Four guest(kHypervOps<H>, false, {.limits = {.ceiling_strides = 20000}});
    H::hyperv_results = {done << 32, done << 32};
    guest.run_mm_on({0, 1});
    guest.flush((2 * 4096) + 1);
    EXPECT_EQ(H::hyperv_calls.size(), 1u + done);
    EXPECT_EQ(interrupted(), std::vector<std::uint64_t>{0b10});
    EXPECT_EQ(guest.generation(1), guest.mm.tlb_gen.peek());
  }
}

TEST(Hyperv, AFailureInTheMiddleOfAListFallsBackForAllOfIt) {
  Four guest(kHypervOps<H>, false, {.limits = {.ceiling_strides = 20000}});
  H::hyperv_results = {std::uint64_t{1} << 32, 5};
  guest.run_mm_on({0, 1});
  guest.flush((2 * 4096) + 1);
  EXPECT_EQ(interrupted(), std::vector<std::uint64_t>{0b10});
  EXPECT_EQ(guest.generation(1), guest.mm.tlb_gen.peek());
}

TEST(Hyperv, MoreThan64Processors) {
  using Wide = Guest<70>;
  using W = ParavirtHal<70>;
  const auto guest = std::make_unique<Wide>(kHypervOps<W>, false);
  guest->run_mm_on({0, 1, 69});
  guest->flush();
  ASSERT_EQ(W::hyperv_calls.size(), 1u);
  EXPECT_EQ(W::hyperv_calls[0].control, 0x0014u | (std::uint64_t{2} << 17) | (1ULL << 32));
  EXPECT_EQ(W::hyperv_calls[0].page[3], 0b11u);
  EXPECT_EQ(W::hyperv_calls[0].page[4], 0b1000u);
  EXPECT_EQ(W::hyperv_calls[0].page[5], std::uint64_t{1} << (71 - 64));
}

TEST(Hyperv, WithoutSparseSetsHighProcessorsAreInterrupted) {
  Four guest(kHypervOps<H>);
  H::sparse_sets = false;
  H::processors[1] = 64;
  guest.run_mm_on({0, 1});
  guest.flush();
  EXPECT_TRUE(H::hyperv_calls.empty());
  EXPECT_EQ(interrupted(), std::vector<std::uint64_t>{0b10});
}

// ---- Xen

TEST(Xen, OneHypercallForOnePageOrForAll) {
  for (const bool concurrent : {true, false}) {
    Four guest(kXenOps<H>, concurrent);
    guest.run_mm_on({0, 1, 2});
    guest.flush();
    const std::uint64_t expected = concurrent ? 0b111 : 0b110;
    EXPECT_EQ(H::xen_calls.back().operation.command, kXenInvlpgMulti);
    EXPECT_EQ(H::xen_calls.back().operation.address, 0x5000u);
    EXPECT_EQ(H::xen_calls.back().processors, expected);
    guest.flush(2);
    EXPECT_EQ(H::xen_calls.back().operation.command, kXenFlushMulti);
    EXPECT_EQ(H::xen_calls.back().processors, expected);
    EXPECT_TRUE(interrupted().empty());
  }
}

TEST(R5_Xen, OneAddressIsNotEnoughForALargePage) {
  Four guest(kXenOps<H>);
  guest.run_mm_on({0, 1});
  const FlushRange range{.start = 0x20'0000, .end = 0x40'0000, .stride_shift = kLargePageShift};
  static_cast<void>(flush_tlb_mm_range(guest.system, guest.mm, range));
  EXPECT_EQ(H::xen_calls.back().operation.command, kXenFlushMulti);
}

TEST(Xen, TheLocalPartIsAHypercallToo) {
  Four guest(kXenOps<H>, /*concurrent=*/false);
  guest.run_mm_on({0});
  guest.flush();
  guest.flush_all();
  guest.with_interrupts_off(0, [&] { flush_everything(guest.system); });
  ASSERT_EQ(H::xen_calls.size(), 3u);
  EXPECT_EQ(H::xen_calls[0].operation.command, kXenInvlpgLocal);
  EXPECT_EQ(H::xen_calls[0].operation.address, 0x5000u);
  EXPECT_EQ(H::xen_calls[1].operation.command, kXenFlushLocal);
  EXPECT_EQ(H::xen_calls[2].operation.command, kXenFlushLocal);
  EXPECT_NONE_OF("invlpg", "write CR3", "invpcid everything");
}

TEST(Xen, RefusedLocalPartsAreDoneByHand) {
  Four guest(kXenOps<H>, /*concurrent=*/false);
  H::xen_result = -22;
  guest.run_mm_on({0});
  guest.flush();
  guest.flush_all();
  guest.with_interrupts_off(0, [&] { flush_everything(guest.system); });
  EXPECT_ONCE("invlpg");
  EXPECT_ONCE("write CR3");
  EXPECT_ONCE("invpcid everything");
}

TEST(Xen, ARefusedSetFallsBackToInterrupts) {
  Four guest(kXenOps<H>);
  H::xen_result = -22;
  guest.run_mm_on({0, 1});
  guest.flush();
  EXPECT_EQ(interrupted(), std::vector<std::uint64_t>{0b10});
  EXPECT_EQ(guest.generation(1), guest.mm.tlb_gen.peek());
  EXPECT_EQ(guest.counters().native_fallbacks, 1u);
}

TEST(Xen, CpusThatAreOfflineAreNotNamed) {
  Four guest(kXenOps<H>);
  guest.run_mm_on({0, 1, 2});
  guest.as(2, [&] {
    H::self().interrupts = false;
    guest.system.calls.close();
  });
  guest.flush();
  EXPECT_EQ(H::xen_calls.back().processors, 0b011u);
}

}  // namespace
}  // namespace shootdown::test
