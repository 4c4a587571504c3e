// Misuse that would corrupt memory silently: each is refused, and the refusal names the rule.
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>

#include "tests/core/core_fixture.h"

namespace shootdown::test {
namespace {

using TwoCpus = CoreFixture<2>;
using H = TwoCpus::H;

std::string refusal_with_interrupts_off(TwoCpus& fixture, CpuId cpu,
                                        const std::function<void()>& work) {
  std::string text;
  fixture.with_interrupts_off(cpu, [&] { text = refusal_of(work); });
  return text;
}

// ---- mms

TEST(Misuse, AnMmBeginsWhileACpuHasItLoaded) {
  for (const MaskPolicy policy : {MaskPolicy::cleared_at_switch, MaskPolicy::kept_lazily}) {
    for (const bool lazy : {false, true}) {
      TwoCpus fixture({.targets = {.mask_policy = policy}});
      fixture.run_mm_on({1});
      if (lazy) fixture.idle(1);
      EXPECT_EQ(refusal_of([&] { initialize_mm(fixture.system, fixture.mm, TwoCpus::kRoot); }),
                "R7: an mm is initialised while a CPU has it loaded");
    }
  }
}

TEST(Misuse, AnMmBeginsWhileACpuIsInItsMask) {
  TwoCpus fixture;
  // Inside a switch to it, say.
  fixture.mm.cpus.set(1);
  EXPECT_EQ(refusal_of([&] { initialize_mm(fixture.system, fixture.mm, TwoCpus::kRoot); }),
            "R7: an mm is initialised while a CPU is in its mask");
}

TEST(Misuse, OfAMaskThatIsKeptTheBitsOfCpusThatHaveLeftAreNone) {
  TwoCpus fixture({.targets = {.mask_policy = MaskPolicy::kept_lazily}});
  fixture.run_mm_on({1});
  fixture.switch_to(1, fixture.other);
  ASSERT_TRUE(fixture.mm.cpus.test(1));
  initialize_mm(fixture.system, fixture.mm, TwoCpus::kRoot);
  EXPECT_TRUE(fixture.mm.cpus.empty());
}

TEST(Misuse, ARootIsNoAddressOfAPage) {
  constexpr const char* kRefusal = "R13: a root is the physical address of a page, of 52 bits";
  TwoCpus fixture;
  for (const PhysAddr root : {PhysAddr{0x2001}, PhysAddr{0x2800}, PhysAddr{1} << 52 | 0x2000,
                              PhysAddr{1} << 63 | 0x2000}) {
    EXPECT_EQ(refusal_of([&] { initialize_mm(fixture.system, fixture.mm, root); }), kRefusal);
    EXPECT_EQ(refusal_of([&] { initialize_mm(fixture.system, fixture.mm, 0x2000, root); }),
              kRefusal);
    auto fresh = std::make_unique<System<H>>();
    EXPECT_EQ(refusal_of([&] { initialize_system(*fresh, {}, root); }), kRefusal);
  }
  EXPECT_EQ(fixture.mm.root, TwoCpus::kRoot) << "nothing was changed";
}

TEST(Misuse, NoUserRootUnderIsolation) {
  constexpr const char* kRefusal =
      "R9: under page-table isolation an mm has a user root of its own";
  TwoCpus fixture({.isolation = {.enabled = true}});
  EXPECT_EQ(refusal_of([&] { initialize_mm(fixture.system, fixture.mm, 0x2000); }), kRefusal);
  EXPECT_EQ(refusal_of([&] { initialize_mm(fixture.system, fixture.mm, 0x2000, 0x2000); }),
            kRefusal);
  EXPECT_EQ(refusal_of([&] { initialize_mm(fixture.system, fixture.mm, 0x2000, 0x4000); }), "");
}

TEST(Misuse, TheKernelsMmIsGivenAway) {
  TwoCpus fixture;
  EXPECT_EQ(refusal_of([&] { initialize_mm(fixture.system, fixture.system.kernel_mm, 0x2000); }),
            "R13: the kernel's mm comes with the system");
}

TEST(Misuse, ASwitchToAnMmThatHasNotBegun) {
  TwoCpus fixture;
  Mm<H> raw;
  EXPECT_EQ(refusal_with_interrupts_off(fixture, 0, [&] { switch_mm(fixture.system, raw); }),
            "R13: a switch to an mm that was not initialised");
  EXPECT_EQ(fixture.loaded(0), &fixture.system.kernel_mm);
}

TEST(Misuse, AnMmEndsWhileACpuRunsIt) {
  constexpr const char* kRefusal = "R7: an mm is retired while a CPU runs it";
  for (const CpuId cpu : {0U, 1U}) {
    TwoCpus fixture;
    fixture.run_mm_on({cpu});
    EXPECT_EQ(refusal_of([&] { static_cast<void>(retire_mm(fixture.system, fixture.mm)); }),
              kRefusal)
        << "by CPU 0, run by CPU " << cpu;
  }
}

TEST(Misuse, AnMmThatOnlyLazyCpusHaveLoadedMayEnd) {
  TwoCpus fixture;
  fixture.run_mm_on({0, 1});
  fixture.idle(0);
  fixture.idle(1);
  EXPECT_EQ(refusal_of([&] { static_cast<void>(retire_mm(fixture.system, fixture.mm)); }), "");
  initialize_mm(fixture.system, fixture.mm, TwoCpus::kRoot);
}

// ---- CPUs

/// A HAL whose CPUs are more than it says.
using Four = RecordingHal<4>;
struct Three : Four {
  static constexpr CpuId kMaxCpus = 3;
  static void send_call_function_ipi(const CpuMask<3>& /*targets*/) {}
};

TEST(Misuse, ThisCpuIsOutOfRange) {
  constexpr const char* kRefusal = "R13: this_cpu() is out of range";
  Four::reset();
  auto system = std::make_unique<System<Three>>();
  Mm<Three> mm;
  initialize_system(*system, {}, 0x1000);
  initialize_mm(*system, mm, 0x2000);
  recorder.current = 3;
  EXPECT_EQ(refusal_of([&] { static_cast<void>(flush_tlb_mm(*system, mm)); }), kRefusal);
  EXPECT_EQ(refusal_of([&] { static_cast<void>(flush_tlb_all(*system)); }), kRefusal);
  Four::self().interrupts = false;
  EXPECT_EQ(refusal_of([&] { initialize_cpu(*system); }), kRefusal);
  Four::reset();
}

/// CPU 1 was never brought up, or has gone.
void expect_cpu_1_refused(TwoCpus& fixture) {
  System<H>& system = fixture.system;
  const auto refused = [&](bool interrupts, const std::function<void()>& work) {
    recorder.current = 1;
    H::self().interrupts = interrupts;
    H::self().preemption_off = 0;
    const std::string text = refusal_of(work);
    recorder.current = 0;
    return text;
  };
  EXPECT_EQ(refused(true, [&] { static_cast<void>(flush_tlb_mm(system, fixture.mm)); }),
            "R2: a CPU flushes that is not up");
  EXPECT_EQ(refused(true, [&] { static_cast<void>(flush_tlb_all(system)); }),
            "R2: a CPU flushes that is not up");
  EXPECT_EQ(refused(true, [&] { static_cast<void>(ReclaimBatch<H>().flush(system)); }),
            "R2: a CPU flushes that is not up");
  EXPECT_EQ(refused(true, [&] { change_cr4(system, 0, kCr4GlobalPages); }),
            "R2: CR4 is changed from the shadow of a CPU that is not up");
  EXPECT_EQ(refused(false, [&] { take_cpu_offline(system); }),
            "R2: a CPU goes offline that is not up");
}

TEST(Misuse, ACpuThatWasNeverBroughtUp) {
  TwoCpus fixture;
  auto fresh = std::make_unique<System<H>>();
  std::swap(fixture.own(1).is_up, fresh->cpus[1].own.is_up);
  fixture.own(1).post_use = fresh->cpus[1].own.post_use;
  fixture.own(1).loaded_mm.poke(nullptr);
  expect_cpu_1_refused(fixture);
  EXPECT_EQ(refusal_with_interrupts_off(fixture, 1, [&] { switch_mm(fixture.system, fixture.mm); }),
            "R2: a CPU switches that is not up");
  EXPECT_EQ(refusal_with_interrupts_off(fixture, 1, [&] { enter_lazy_tlb(fixture.system); }),
            "R2: a CPU becomes lazy that is not up");
  EXPECT_EQ(refusal_with_interrupts_off(
                fixture, 1, [&] { const TemporaryMm<H> scope(fixture.system, fixture.mm); }),
            "R2: a CPU switches that is not up");
}

TEST(Misuse, ACpuThatHasGone) {
  TwoCpus fixture;
  fixture.with_interrupts_off(1, [&] { take_cpu_offline(fixture.system); });
  expect_cpu_1_refused(fixture);
}

TEST(Misuse, ACpuOrAnMmComesBeforeTheSystem) {
  H::reset();
  auto system = std::make_unique<System<H>>();
  Mm<H> mm;
  EXPECT_EQ(refusal_of([&] { initialize_mm(*system, mm, 0x2000); }),
            "R13: an mm is initialised before the system");
  H::self().interrupts = false;
  EXPECT_EQ(refusal_of([&] { initialize_cpu(*system); }),
            "R13: a CPU is initialised before the system");
  H::reset();
}

TEST(Misuse, ASystemBeginsTwice) {
  TwoCpus fixture;
  EXPECT_EQ(refusal_of([&] { initialize_system(fixture.system, {}, TwoCpus::kKernelRoot); }),
            "R13: a system is initialised twice");
}

TEST(Misuse, ACpuComesBackThatHasNotGone) {
  TwoCpus fixture;
  fixture.run_mm_on({1});
  EXPECT_EQ(refusal_with_interrupts_off(fixture, 1, [&] { initialize_cpu(fixture.system); }),
            "R10: a CPU is brought up that has not gone offline");
  EXPECT_EQ(fixture.loaded(1), &fixture.mm);
}

TEST(Misuse, ACpuGoesInTheMiddleOfAFlush) {
  TwoCpus fixture;
  internal::publish(fixture.system, fixture.system.cpus[0], FlushRequest<H>{});
  EXPECT_EQ(refusal_with_interrupts_off(fixture, 0, [&] { take_cpu_offline(fixture.system); }),
            "R10: a CPU goes offline in the middle of a flush");
}

TEST(Misuse, ABackendHandsOnACopyOfTheRequest) {
  // Targets run what is in the post of the initiator, so a copy would be ignored.
  TwoCpus fixture;
  fixture.run_mm_on({0, 1});
  FlushRequest<H> copy{.mm = &fixture.mm, .start = 0x1000, .end = 0x2000, .initiator = 0};
  EXPECT_EQ(refusal_of([&] { native_flush_multi(fixture.system, fixture.mm.cpus.read(), copy); }),
            "R10: a flush of a request that is not in its initiator's post");
}

TEST(Misuse, NothingIsLeftOfACpusEarlierLife) {
  TwoCpus fixture({.isolation = {.enabled = true}});
  fixture.with_interrupts_off(1, [&] { take_cpu_offline(fixture.system); });
  CpuPrivate<H>& own = fixture.own(1);
  fixture.system.cpus[1].shared.is_lazy.poke(true);
  own.early_acked_flush_pending.poke(true);
  own.post_use = PostUse::by_flush;
  own.user_pcid_flush_mask = 0xff;
  own.invalidate_other = true;
  own.deferred = {.start = 0x1000, .end = 0x3000};
  own.on_global.poke(true);
  own.asids[3] = {.context = fixture.mm.context, .generation = 1};
  fixture.with_interrupts_off(1, [&] { initialize_cpu(fixture.system); });
  EXPECT_FALSE(fixture.system.cpus[1].shared.is_lazy.peek());
  EXPECT_FALSE(own.early_acked_flush_pending.peek());
  EXPECT_EQ(own.post_use, PostUse::free);
  EXPECT_EQ(own.user_pcid_flush_mask, 0u);
  EXPECT_FALSE(own.invalidate_other);
  EXPECT_TRUE(own.deferred.empty());
  EXPECT_FALSE(own.on_global.peek());
  EXPECT_EQ(own.asids[3].context, kNoContext);
  fixture.switch_to(1, fixture.mm);
  fixture.as(1, [&] {
    EXPECT_TRUE(user_access_ok(fixture.system, fixture.mm));
    EXPECT_EQ(refusal_of([&] { static_cast<void>(flush_tlb_mm(fixture.system, fixture.mm)); }), "");
  });
}

// ---- Where a wait for others must not begin

TEST(Misuse, AFlushOfAnyKindInAnInterruptOrWithInterruptsOff) {
  for (const bool broadcast : {false, true}) {
    TwoCpus fixture({.broadcast = {.enabled = broadcast}});
    System<H>& system = fixture.system;
    ReclaimBatch<H> batch;
    batch.add(system, fixture.mm);
    const std::function<void()> flushes[] = {
        [&] { static_cast<void>(flush_tlb_mm(system, fixture.mm)); },
        [&] { static_cast<void>(flush_tlb_kernel_range(system, 0x100000, 0x101000)); },
        [&] { static_cast<void>(flush_tlb_all(system)); },
        [&] { static_cast<void>(batch.flush(system)); },
        [&] { flush_tlb_batched_pending(system, fixture.mm); },
        [&] { wait_for_walkers(system); },
    };
    for (const auto& flush : flushes) {
      H::self().in_interrupt = true;
      EXPECT_EQ(refused_by(flush), Rule::r12) << "broadcast " << broadcast;
      H::self().in_interrupt = false;
      H::self().interrupts = false;
      EXPECT_EQ(refused_by(flush), Rule::r12) << "broadcast " << broadcast;
      H::self().interrupts = true;
      EXPECT_NONE_OF("invlpgb kernel pages", "invlpgb everything");
    }
  }
}

TEST(Misuse, TheKernelsMmInABatch) {
  CoreFixture<2> fixture;
  ReclaimBatch<CoreFixture<2>::H> batch;
  EXPECT_EQ(refusal_of([&] { batch.add(fixture.system, fixture.system.kernel_mm); }),
            "R13: the kernel's mm is added to a batch");
}

}  // namespace
}  // namespace shootdown::test
