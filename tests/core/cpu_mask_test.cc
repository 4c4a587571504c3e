// Sets of CPUs, within one word and across words; the shared form.
#include "core/cpu_mask.h"

#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <vector>

#include "tests/core/core_fixture.h"

namespace shootdown::test {
namespace {

constexpr CpuId kMany = 130;
using Wide = CpuMask<kMany>;
constexpr CpuId kEdges[] = {0, 1, 62, 63, 64, 65, 127, 128, 129};

Wide wide(std::initializer_list<CpuId> cpus) {
  Wide mask;
  for (const CpuId cpu : cpus) mask.set(cpu);
  return mask;
}

TEST(CpuMask, HasOneWordForEvery64Cpus) {
  EXPECT_EQ(CpuMask<1>::kWords, 1u);
  EXPECT_EQ(CpuMask<64>::kWords, 1u);
  EXPECT_EQ(CpuMask<65>::kWords, 2u);
  EXPECT_EQ(Wide::kWords, 3u);
}

TEST(CpuMask, SetAndClearChangeOneMember) {
  for (const CpuId cpu : kEdges) {
    Wide mask;
    mask.set(cpu);
    for (CpuId other = 0; other < kMany; ++other) EXPECT_EQ(mask.test(other), other == cpu);
    EXPECT_EQ(mask.count(), 1u);
    EXPECT_EQ(mask.first(), cpu);
    EXPECT_FALSE(mask.empty());
    mask.clear(cpu);
    EXPECT_TRUE(mask.empty());
    EXPECT_EQ(mask, Wide{});
  }
}

TEST(R13_CpuMask, FirstOfNobodyIsNoCpuAndNotCpu0) {
  EXPECT_EQ(Wide{}.first(), kNoCpu);
  EXPECT_EQ(CpuMask<1>{}.first(), kNoCpu);
  EXPECT_NE(kNoCpu, 0u);
}

TEST(R13_CpuMask, FirstExceptFindsCpu0AndSkipsOnlyTheOneNamed) {
  EXPECT_EQ(Wide{}.first_except(0), kNoCpu);
  EXPECT_EQ(wide({0}).first_except(0), kNoCpu);
  EXPECT_EQ(wide({0}).first_except(5), 0u);
  EXPECT_EQ(wide({0, 129}).first_except(0), 129u);
  EXPECT_EQ(wide({63, 64}).first_except(63), 64u);
  EXPECT_EQ(wide({129}).first_except(129), kNoCpu);
  Wide mask = wide({3});
  static_cast<void>(mask.first_except(3));
  EXPECT_TRUE(mask.test(3)) << "asking changes nothing";
}

TEST(CpuMask, VisitsMembersInOrder) {
  Wide mask;
  for (const CpuId cpu : kEdges) mask.set(cpu);
  std::vector<CpuId> seen;
  mask.for_each([&](CpuId cpu) { seen.push_back(cpu); });
  EXPECT_EQ(seen, std::vector<CpuId>(std::begin(kEdges), std::end(kEdges)));
  EXPECT_EQ(mask.count(), std::size(kEdges));
}

TEST(CpuMask, IntersectsAndUnites) {
  Wide both = wide({1, 64, 129});
  both &= wide({64, 128, 129});
  EXPECT_EQ(both, wide({64, 129}));
  both |= wide({0, 129});
  EXPECT_EQ(both, wide({0, 64, 129}));
}

TEST(CpuMask, IsUsableAtCompileTime) {
  constexpr CpuId kFirst = [] {
    CpuMask<64> mask;
    mask.set(7);
    mask.set(9);
    return mask.first_except(7);
  }();
  static_assert(kFirst == 9);
}

TEST(AtomicCpuMask, EachCpuChangesOneBitOfOneWordWithALockedOperation) {
  RecordingHal<kMany>::reset();
  const auto mask = std::make_unique<AtomicCpuMask<RecordingHal<kMany>>>();
  std::vector<const void*> words;
  mask->visit_shared([&](const char* name, auto& word) {
    recorder.names[&word] = std::string(name) + std::to_string(words.size());
    words.push_back(&word);
  });
  ASSERT_EQ(words.size(), Wide::kWords);
  mask->set(129);
  EXPECT_EQ(recorder.log.back().what, "or cpu_mask2");
  EXPECT_EQ(recorder.log.back().value, 2u);
  EXPECT_EQ(recorder.log.back().order, std::memory_order_seq_cst);
  mask->set(63);
  EXPECT_EQ(recorder.log.back().what, "or cpu_mask0");
  mask->set(128);
  EXPECT_EQ(mask->read(), wide({63, 128, 129}));
  mask->clear(129);
  EXPECT_EQ(recorder.log.back().what, "and cpu_mask2");
  EXPECT_EQ(recorder.log.back().order, std::memory_order_release);
  EXPECT_EQ(mask->read(), wide({63, 128}));
  EXPECT_TRUE(mask->test(128));
  EXPECT_FALSE(mask->test(129));
}

TEST(CpuMask, UsesTheWordsUpToItsLastMember) {
  Wide mask;
  EXPECT_EQ(mask.used(), 0u);
  mask.set(3);
  EXPECT_EQ(mask.used(), 1u);
  mask.clear(129);
  EXPECT_FALSE(mask.test(129));
  EXPECT_EQ(mask.used(), 1u) << "asking uses nothing";
  Wide other = wide({129});
  EXPECT_EQ(other.used(), 3u);
  other &= mask;
  EXPECT_EQ(other.used(), 1u);
  EXPECT_TRUE(other.empty());
  other = wide({70});
  mask |= other;
  EXPECT_EQ(mask, wide({3, 70}));
  mask.clear(70);
  EXPECT_EQ(mask, wide({3})) << "also where more words are in use";
  EXPECT_TRUE(mask.is_only(3, Wide::bit_of(3)));
  EXPECT_FALSE(mask.is_only(67, Wide::bit_of(67)));
  EXPECT_FALSE(Wide{}.is_only(0, Wide::bit_of(0)));
}

// ---- A kernel that is built for many CPUs, on few

TEST(CpusThatExist, NothingIsLookedAtBehindThem) {
  const auto fixture = std::make_unique<CoreFixture<kMany>>(Config{.limits = {.cpus = 5}});
  fixture->run_mm_on({0, 1, 4});
  static_cast<void>(flush_tlb_page(fixture->system, fixture->mm, 0x5000));
  EXPECT_EQ(fixture->system.mask_words(), 1u);
  EXPECT_ONCE("load mm.cpu_mask", 0) << "of three words";
  EXPECT_ONCE("load online", 0);
  for (const CpuId cpu : {1U, 4U}) {
    const std::string name = "load cpu" + std::to_string(cpu) + ".pending";
    EXPECT_EQ(
        values((name + "[0]").c_str(), cpu).size() + values((name + "[1]").c_str(), cpu).size(),
        2u);
    for (const char* word : {"[2]", "[7]"}) EXPECT_NEVER((name + word).c_str(), cpu);
  }
  EXPECT_EQ(events(TraceKind::call_run).size(), 2u);
}

TEST(CpusThatExist, OnlyTheyComeUp) {
  const auto fixture = std::make_unique<CoreFixture<kMany>>(Config{.limits = {.cpus = 65}});
  EXPECT_EQ(fixture->system.mask_words(), 2u);
  std::string refused;
  fixture->with_interrupts_off(
      65, [&] { refused = refusal_of([&] { initialize_cpu(fixture->system); }); });
  EXPECT_EQ(refused, "R13: a CPU comes up that the configuration does not count");
}

TEST(CpusThatExist, MoreThanThereIsRoomForAreRefused) {
  RecordingHal<4>::reset();
  const auto system = std::make_unique<System<RecordingHal<4>>>();
  EXPECT_EQ(refusal_of([&] { initialize_system(*system, Config{.limits = {.cpus = 5}}, 0x1000); }),
            "R13: there are more CPUs than the HAL has room for");
}

TEST(ManyCpus, AFlushReachesThemAcrossWords) {
  const auto fixture = std::make_unique<CoreFixture<kMany>>();
  fixture->run_mm_on({0, 63, 64, 129});
  fixture->as(64, [&] { static_cast<void>(flush_tlb_page(fixture->system, fixture->mm, 0x5000)); });
  std::set<CpuId> flushed;
  for (const Entry& entry : recorder.log) {
    if (is(entry, "invlpg")) flushed.insert(entry.cpu);
  }
  EXPECT_EQ(flushed, (std::set<CpuId>{0, 63, 64, 129}));
  EXPECT_EQ(fixture->own(64).counters.targets_queued, 3u);
}

}  // namespace
}  // namespace shootdown::test
