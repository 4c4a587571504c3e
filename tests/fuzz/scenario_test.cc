// The byte form: total, canonical, and zero means simple.
#include "fuzz/scenario/scenario.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <span>
#include <vector>

#include "fuzz/scenario/kinds.h"
#include "fuzz/scenario/random.h"

namespace shootdown::fuzz {
namespace {

using Bytes = std::vector<std::uint8_t>;

Bytes random_bytes(Random& random, std::size_t size) {
  Bytes bytes(size);
  for (std::uint8_t& byte : bytes) byte = random.below(256);
  return bytes;
}

/// Of all lengths, so that the header, operations and deviations are each cut at times.
Bytes random_input(Random& random) {
  const std::size_t size = random.mostly_small(2 * kMaxBytes);
  Bytes bytes = random_bytes(random, size);
  if (size >= kHeaderBytes && random.chance(1, 2)) bytes[kHeaderBytes - 1] = random.below(40);
  return bytes;
}

Scenario decoded(std::span<const std::uint8_t> bytes) {
  Scenario scenario;
  decode(bytes, scenario);
  return scenario;
}

void expect_in_range(const Scenario& scenario) {
  const Header& header = scenario.header;
  EXPECT_TRUE(header.cpus >= 1 && header.cpus <= kMaxCpus);
  EXPECT_TRUE(header.mms >= 1 && header.mms <= kMaxMms);
  EXPECT_LE(header.ceiling, kMaxCeiling);
  for (unsigned cpu = 0; cpu < kMaxCpus; ++cpu) {
    if (cpu >= header.cpus) EXPECT_EQ(scenario.ops[cpu].size(), 0u);
    for (const Op& op : scenario.ops[cpu]) {
      EXPECT_LT(op.kind, OpKind::kCount);
      EXPECT_LT(op.mm, header.mms);
      EXPECT_LT(op.page, kPages);
      EXPECT_GE(op.count, 1);
      EXPECT_LE(op.count, counts(shape(op.kind), op.page, header.mms));
      if (!shape(op.kind).uses_page || !shape(op.kind).uses_count) continue;
      EXPECT_EQ(op.page < kSmallPages, op.page + op.count - 1 < static_cast<int>(kSmallPages));
      EXPECT_LE(op.page + op.count, static_cast<int>(kPages));
    }
  }
  for (const Deviation& deviation : scenario.deviations) {
    EXPECT_TRUE(host::is_deviation(deviation.kind));
    EXPECT_LT(deviation.cpu, shape(deviation.kind).of_mm ? header.mms : header.cpus);
    EXPECT_LT(deviation.arg, shape(deviation.kind).args());
  }
}

TEST(Decode, NothingIsTheDefaultConfigurationWithoutOperations) {
  EXPECT_EQ(decoded({}), Scenario{});
  EXPECT_EQ(decoded(Bytes(kHeaderBytes)), Scenario{});
}

TEST(Decode, OverwritesWhateverTheScenarioHeld) {
  Random random(1);
  Scenario scenario = decoded(random_bytes(random, kMaxBytes));
  decode({}, scenario);
  EXPECT_EQ(scenario, Scenario{});
}

TEST(Decode, ReadsTheDocumentedLayout) {
  const Bytes bytes{
      0xff, 6, 1, 1, 1, 3, 1, 2,       // 3 CPUs, 8 mms, no PCID, serial, ceiling 0, PTI, no
                                       // INVPCID, by loaded mm
      7, 0x52, 14, 15,                 // unmap of CPU 2, mm 5, page 14, 16 pages
      4 + kOpKinds, 0xf4, 18 + 17, 3,  // read of CPU 4 % 3, page 17
      200, 1 + kDeviationKinds, 7, 3,  // hold, CPU 7 % 3
  };
  const Scenario scenario = decoded(bytes);
  Header header{3, 8, false, false, 0};
  header.pti = true;
  header.invpcid = false;
  header.by_loaded_mm = true;
  EXPECT_EQ(scenario.header, header);
  ASSERT_EQ(scenario.ops[2].size(), 1u);
  EXPECT_EQ(scenario.ops[2][0], (Op{OpKind::unmap, 5, 14, 2}));
  ASSERT_EQ(scenario.ops[1].size(), 1u);
  EXPECT_EQ(scenario.ops[1][0], (Op{OpKind::read, 0, 17, 1}));
  ASSERT_EQ(scenario.deviations.size(), 1u);
  EXPECT_EQ(scenario.deviations[0], (Deviation{200, EventKind::hold, 1, 3}));
}

TEST(Decode, EveryHeaderValueIsReachableAndKept) {
  for (unsigned byte = 0; byte < kHeaderBytes - 1; ++byte) {
    std::vector<Header> seen;
    for (unsigned value = 0; value < 256; ++value) {
      Bytes bytes(kHeaderBytes);
      bytes[byte] = value;
      const Scenario scenario = decoded(bytes);
      expect_in_range(scenario);
      EXPECT_EQ(decoded(encode(scenario)), scenario);
      if (std::find(seen.begin(), seen.end(), scenario.header) == seen.end()) {
        seen.push_back(scenario.header);
      }
    }
    constexpr std::array<std::size_t, kHeaderBytes - 1> kValues{8, 8, 256, 160, 34, 256, 256};
    EXPECT_EQ(seen.size(), kValues[byte]) << "header byte " << byte;
  }
}

TEST(Decode, ReducesEveryValueOfEveryByteOfARecord) {
  for (unsigned value = 0; value < 256; ++value) {
    const std::uint8_t byte = value;
    const Bytes bytes{
        3,    5,    0,    0,    0, 0, 0, 4,  // 7 CPUs, 7 mms
        byte, 0,    0,    0,                 // kind
        6,    byte, 0,    0,                 // CPU and mm of a map
        6,    1,    0,    byte,              // count of a map
        4,    2,    byte, 0,                 // page of a read
        1,    byte, 0,    0,                 // kind
        2,    2,    byte, byte,              // CPU and page of a fill
    };
    const Scenario scenario = decoded(bytes);
    const unsigned cpu = value % 16 % 7;
    EXPECT_EQ(static_cast<unsigned>(scenario.ops[0][0].kind), value % kOpKinds);
    EXPECT_EQ(scenario.ops[cpu][cpu == 0 ? 1 : 0].mm, value / 16 % 7);
    EXPECT_EQ(scenario.ops[1][cpu == 1 ? 1 : 0].count, value % 16 + 1);
    EXPECT_EQ(scenario.ops[2][cpu == 2 ? 1 : 0].page, value % 18);
    ASSERT_EQ(scenario.deviations.size(), 2u);
    EXPECT_EQ(static_cast<unsigned>(scenario.deviations[0].kind), value % kDeviationKinds);
    EXPECT_EQ(scenario.deviations[1].cpu, value % 7);
    EXPECT_EQ(scenario.deviations[1].arg, value % (kWalkedPages * kWalkLevels));
  }
}

TEST(Decode, IsTotalAndEncodeIsItsCanonicalInverse) {
  Random random(2);
  for (unsigned i = 0; i < 120000; ++i) {
    const Scenario scenario = decoded(random_input(random));
    expect_in_range(scenario);
    Scenario normal = scenario;
    normalise(normal);
    ASSERT_EQ(normal, scenario) << print(scenario);
    const Bytes bytes = encode(scenario);
    ASSERT_EQ(bytes.size(), encoded_size(scenario));
    ASSERT_LE(bytes.size(), kMaxBytes);
    ASSERT_EQ(decoded(bytes), scenario) << print(scenario);
    ASSERT_EQ(encode(decoded(bytes)), bytes);
  }
}

TEST(Decode, EveryTruncationIsAScenarioAndWholeRecordsSurvive) {
  Random random(3);
  for (unsigned i = 0; i < 200; ++i) {
    const Scenario whole = decoded(random_input(random));
    const Bytes bytes = encode(whole);
    for (std::size_t size = 0; size <= bytes.size(); ++size) {
      const Scenario cut = decoded(std::span(bytes).first(size));
      expect_in_range(cut);
      if (size < kHeaderBytes || (size - kHeaderBytes) % kRecordBytes != 0) continue;
      ASSERT_EQ(encoded_size(cut), size);
      for (unsigned cpu = 0; cpu < kMaxCpus; ++cpu) {
        ASSERT_TRUE(std::equal(cut.ops[cpu].begin(), cut.ops[cpu].end(), whole.ops[cpu].begin()));
      }
      ASSERT_TRUE(
          std::equal(cut.deviations.begin(), cut.deviations.end(), whole.deviations.begin()));
    }
  }
}

TEST(Decode, TheMissingTailOfARecordReadsAsZero) {
  Bytes bytes(kHeaderBytes);
  bytes[kHeaderBytes - 1] = 5;
  bytes.push_back(static_cast<std::uint8_t>(OpKind::map));
  const Scenario scenario = decoded(bytes);
  EXPECT_EQ(count_ops(scenario), 1u);
  ASSERT_EQ(scenario.ops[0].size(), 1u);
  EXPECT_EQ(scenario.ops[0][0], (Op{OpKind::map, 0, 0, 1}));
}

TEST(Decode, AMegabyteFillsAScenarioAndNoMore) {
  Random random(4);
  Bytes bytes = random_bytes(random, 1 << 20);
  bytes[kHeaderBytes - 1] = kMaxOps;
  const Scenario scenario = decoded(bytes);
  expect_in_range(scenario);
  EXPECT_TRUE(scenario.deviations.full());
  EXPECT_EQ(decoded(encode(scenario)), scenario);
}

TEST(Decode, OperationsBeyondTheLastOfACpuAreDropped) {
  Bytes bytes(kHeaderBytes + kRecordBytes * 40);
  bytes[kHeaderBytes - 1] = 40;
  const Scenario scenario = decoded(bytes);
  EXPECT_EQ(scenario.ops[0].size(), kMaxOpsPerCpu);
  EXPECT_EQ(scenario.deviations.size(), 0u);
}

TEST(Encode, ALargestScenarioHasTheLargestSize) {
  Scenario scenario;
  scenario.header.cpus = kMaxCpus;
  for (auto& list : scenario.ops) {
    while (!list.full()) list.push_back({OpKind::exit, 1, 0, 1});
  }
  while (!scenario.deviations.full()) scenario.deviations.push_back({255, EventKind::hold, 7, 255});
  EXPECT_EQ(encode(scenario).size(), kMaxBytes);
  EXPECT_EQ(decoded(encode(scenario)), scenario);
}

TEST(Decode, SkipsTheMarkOfAFile) {
  const std::string_view mark = kBytesMark;
  Bytes bytes(mark.begin(), mark.end());
  EXPECT_EQ(decoded(bytes), decoded({}));
  Scenario scenario;
  scenario.ops[2].push_back({OpKind::write, 0, 3, 1});
  const Bytes canonical = encode(scenario);
  bytes.insert(bytes.end(), canonical.begin(), canonical.end());
  EXPECT_EQ(decoded(bytes), scenario);
  EXPECT_TRUE(is_marked(mark));
  EXPECT_FALSE(is_marked_wrongly(mark));
  EXPECT_TRUE(is_marked_wrongly("shootdown-bytes 10\n"));
  EXPECT_FALSE(is_marked_wrongly("shootdown-scenario 1\n"));
}

TEST(Encode, InsertingAnOperationShiftsNoOther) {
  Scenario scenario;
  scenario.ops[0].push_back({OpKind::map, 1, 3, 2});
  scenario.ops[2].push_back({OpKind::write, 0, 3, 1});
  Bytes bytes = encode(scenario);
  const Bytes record{static_cast<std::uint8_t>(OpKind::read), 1, 5, 0};
  bytes.insert(bytes.begin() + kHeaderBytes, record.begin(), record.end());
  ++bytes[kHeaderBytes - 1];
  scenario.ops[1].push_back({OpKind::read, 0, 5, 1});
  EXPECT_EQ(decoded(bytes), scenario);
}

TEST(Normalise, ClampsTheConfiguration) {
  Scenario scenario;
  scenario.header = {0, 0, true, true, 200};
  normalise(scenario);
  EXPECT_EQ(scenario.header, (Header{1, 1, true, true, kMaxCeiling}));
  scenario.header = {9, 9, true, true, 0};
  normalise(scenario);
  EXPECT_EQ(scenario.header, (Header{kMaxCpus, kMaxMms, true, true, 0}));
}

TEST(Normalise, DropsOperationsOfMissingCpusAndKeepsDeviations) {
  Scenario scenario;
  scenario.header.cpus = 2;
  scenario.ops[2].push_back({});
  scenario.deviations.push_back({3, EventKind::preempt, 3, 0});
  normalise(scenario);
  EXPECT_EQ(count_ops(scenario), 0u);
  ASSERT_EQ(scenario.deviations.size(), 1u);
  EXPECT_EQ(scenario.deviations[0].cpu, 1);
}

TEST(Normalise, GivesUnusedFieldsTheirDefaults) {
  for (unsigned kind = 0; kind < kOpKinds; ++kind) {
    Scenario scenario;
    scenario.ops[0].push_back({static_cast<OpKind>(kind), 1, 1, 3});
    normalise(scenario);
    const OpShape& used = kOpShapes[kind];
    const Op& op = scenario.ops[0][0];
    EXPECT_EQ(op.mm, used.uses_mm ? 1 : 0) << used.name;
    EXPECT_EQ(op.page, used.uses_page ? page_for(used, 1) : 0) << used.name;
    EXPECT_EQ(op.count, std::min(3U, counts(used, op.page, 2))) << used.name;
  }
}

TEST(Normalise, CutsRangesAtTheEndOfSmallAndOfLargePages) {
  Scenario scenario;
  scenario.ops[0].push_back({OpKind::map, 0, 15, 16});
  scenario.ops[0].push_back({OpKind::map, 0, 16, 16});
  scenario.ops[0].push_back({OpKind::map, 0, 0, 200});
  scenario.ops[0].push_back({OpKind::map, 0, 17, 0});
  normalise(scenario);
  EXPECT_EQ(scenario.ops[0][0].count, 1);
  EXPECT_EQ(scenario.ops[0][1].count, 2);
  EXPECT_EQ(scenario.ops[0][2].count, 16);
  EXPECT_EQ(scenario.ops[0][3].count, 1);
}

TEST(BoundedList, InsertAndEraseKeepTheOrder) {
  BoundedList<int, 4> list;
  list.insert(0, 3);
  list.insert(0, 1);
  list.insert(1, 2);
  list.insert(3, 4);
  EXPECT_TRUE(list.full());
  EXPECT_TRUE(std::equal(list.begin(), list.end(), std::array{1, 2, 3, 4}.begin()));
  list.erase(1);
  list.erase(2);
  EXPECT_EQ(list.size(), 2u);
  EXPECT_TRUE(std::equal(list.begin(), list.end(), std::array{1, 3}.begin()));
}

}  // namespace
}  // namespace shootdown::fuzz
