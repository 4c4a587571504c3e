#include "fuzz/scenario/mutator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "fuzz/scenario/generate.h"
#include "fuzz/scenario/kinds.h"

namespace shootdown::fuzz {
namespace {

using Bytes = std::vector<std::uint8_t>;

unsigned g_byte_mutations = 0;

/// Stands for LLVMFuzzerMutate.
std::size_t flip_first_byte(std::uint8_t* data, std::size_t size, std::size_t max_size) {
  ++g_byte_mutations;
  if (max_size == 0) return 0;
  data[0] = size == 0 ? 0x5a : data[0] ^ 0xff;
  return std::max<std::size_t>(size, 1);
}

Bytes mutated(std::span<const std::uint8_t> input, std::size_t max_size, std::uint32_t seed,
              ByteMutator mutate_bytes) {
  Bytes buffer(input.begin(), input.end());
  buffer.resize(max_size);
  buffer.resize(mutate(buffer, input.size(), seed, mutate_bytes));
  return buffer;
}

Bytes generated_bytes(std::uint64_t seed) {
  Scenario scenario;
  generate(seed, {}, scenario);
  return encode(scenario);
}

Scenario decoded(const Bytes& bytes) {
  Scenario scenario;
  decode(bytes, scenario);
  return scenario;
}

TEST(Mutator, YieldsCanonicalBytesOfAnotherScenario) {
  Bytes bytes = generated_bytes(1);
  for (std::uint32_t seed = 0; seed < 30000; ++seed) {
    const Bytes next = mutated(bytes, kMaxBytes, seed, nullptr);
    ASSERT_LE(next.size(), kMaxBytes);
    ASSERT_EQ(encode(decoded(next)), next);
    ASSERT_NE(decoded(next), decoded(bytes)) << "seed " << seed;
    bytes = next;
  }
}

TEST(Mutator, IsDeterministicBySeed) {
  const Bytes bytes = generated_bytes(2);
  std::set<Bytes> results;
  for (std::uint32_t seed = 0; seed < 1000; ++seed) {
    const Bytes one = mutated(bytes, kMaxBytes, seed, flip_first_byte);
    ASSERT_EQ(one, mutated(bytes, kMaxBytes, seed, flip_first_byte));
    results.insert(one);
  }
  EXPECT_GT(results.size(), 600u);
}

TEST(Mutator, LeavesAShareOfTheCallsToTheByteMutator) {
  const Bytes bytes = generated_bytes(3);
  g_byte_mutations = 0;
  for (std::uint32_t seed = 0; seed < 8000; ++seed) {
    const unsigned before = g_byte_mutations;
    const Bytes next = mutated(bytes, kMaxBytes, seed, flip_first_byte);
    if (g_byte_mutations == before) continue;
    ASSERT_EQ(next.size(), bytes.size());
    ASSERT_EQ(next[0], bytes[0] ^ 0xff) << "the engine's bytes must come back as they are";
  }
  EXPECT_GT(g_byte_mutations, 800u);
  EXPECT_LT(g_byte_mutations, 1200u);
}

TEST(Mutator, StaysWithinTheSizeItIsGiven) {
  const Bytes large = encode(decoded(Bytes(4096, 0x77)));
  for (std::size_t max_size = 0; max_size < 120; ++max_size) {
    for (std::uint32_t seed = 0; seed < 300; ++seed) {
      const std::span<const std::uint8_t> start = std::span(large).first(seed % (max_size + 1));
      const Bytes next = mutated(start, max_size, seed, flip_first_byte);
      ASSERT_LE(next.size(), max_size);
      if (max_size > 0) ASSERT_GT(next.size(), 0u);
      const Bytes whole_records = mutated(start, max_size, seed, nullptr);
      if (max_size >= kHeaderBytes) ASSERT_EQ(encode(decoded(whole_records)), whole_records);
    }
  }
}

TEST(Mutator, TakesAnyBytes) {
  Random random(4);
  for (std::uint32_t seed = 0; seed < 60000; ++seed) {
    Bytes bytes(random.mostly_small(2000));
    for (std::uint8_t& byte : bytes) byte = random.below(256);
    const std::size_t max_size = bytes.size() + random.below(1000);
    ASSERT_LE(mutated(bytes, max_size, seed, flip_first_byte).size(), max_size);
  }
}

/// What single calls do to one scenario, collected over many seeds.
TEST(Mutator, ReachesEveryPartOfAScenario) {
  Scenario start;
  for (unsigned cpu = 0; cpu < 4; ++cpu) {
    for (const OpKind kind : {OpKind::switch_to, OpKind::map, OpKind::read, OpKind::unmap}) {
      start.ops[cpu].push_back({kind, 0, 0, 1});
    }
  }
  for (unsigned i = 0; i < 4; ++i) start.deviations.push_back({10, EventKind::preempt, 1, 0});
  std::set<std::string> seen;
  const auto note = [&](bool happened, const char* what) {
    if (happened) seen.insert(what);
  };
  for (std::uint32_t seed = 0; seed < 120000; ++seed) {
    Scenario next = start;
    Random random(seed);
    mutate(next, random);
    note(next.header.cpus < start.header.cpus, "fewer CPUs");
    note(next.header.cpus > start.header.cpus, "more CPUs");
    note(next.header.mms != start.header.mms, "mms");
    note(next.header.pcid != start.header.pcid, "PCID");
    note(next.header.concurrent != start.header.concurrent, "concurrent");
    note(next.header.ceiling != start.header.ceiling, "ceiling");
    note(next.header.pti != start.header.pti, "a switch");
    note(count_ops(next) > count_ops(start), "more operations");
    note(count_ops(next) < count_ops(start), "fewer operations");
    note(next.deviations.size() > start.deviations.size(), "more deviations");
    note(next.deviations.size() < start.deviations.size(), "fewer deviations");
    for (unsigned kind = 0; kind < kOpKinds; ++kind) {
      const auto is_kind = [&](const Op& op) { return op.kind == static_cast<OpKind>(kind); };
      const auto& list = next.ops[0];
      // A mix of one kind only shows that the kind can be drawn. Two kinds stand in no mix.
      const bool in_no_mix = static_cast<OpKind>(kind) == OpKind::flush_range ||
                             static_cast<OpKind>(kind) == OpKind::map_small;
      const bool drawn = in_no_mix
                             ? std::any_of(list.begin(), list.end(), is_kind)
                             : std::all_of(list.begin(), list.end(), is_kind) && list.size() > 1;
      note(drawn, kOpShapes[kind].name.data());
    }
  }
  EXPECT_EQ(seen.size(), 11 + kOpKinds);
}

/// Whether `longer` is `shorter` with one element put in somewhere.
template <class List>
bool has_one_more(const List& longer, const List& shorter) {
  if (longer.size() != shorter.size() + 1) return false;
  const auto [one, other] = std::mismatch(shorter.begin(), shorter.end(), longer.begin());
  return std::equal(one, shorter.end(), other + 1);
}

/// The smallest steps matter most near a bug, so each must occur alone.
TEST(Mutator, TakesSmallStepsWithoutDisturbingTheRest) {
  Scenario start;
  start.ops[0].push_back({OpKind::unmap, 0, 1, 2});
  start.ops[0].push_back({OpKind::unmap, 1, 5, 4});
  start.deviations.push_back({10, EventKind::hold, 1, 7});
  start.deviations.push_back({20, EventKind::fill, 2, 9});
  std::map<std::string, unsigned> seen;
  for (std::uint32_t seed = 0; seed < 120000; ++seed) {
    Scenario next = start;
    Random random(seed);
    mutate(next, random);
    const auto note = [&](bool happened, Scenario put_back, const char* what) {
      if (happened && put_back == start) ++seen[what];
    };
    Scenario same_ops = next;
    same_ops.ops = start.ops;
    note(has_one_more(next.ops[0], start.ops[0]), same_ops, "one operation more");
    note(has_one_more(start.ops[0], next.ops[0]), same_ops, "one operation less");
    note(next.ops[0].size() == 3 && next.ops[0][1] == start.ops[0][1], same_ops, "one at the end");
    if (next.ops[0].size() == 2) {
      for (const auto field : {&Op::mm, &Op::page, &Op::count}) {
        Scenario put_back = next;
        put_back.ops[0][1].*field = start.ops[0][1].*field;
        note(next.ops[0][1].*field != start.ops[0][1].*field, put_back,
             field == &Op::mm     ? "mm"
             : field == &Op::page ? "page"
                                  : "count");
      }
    }
    Scenario same_deviations = next;
    same_deviations.deviations = start.deviations;
    const auto& list = next.deviations;
    note(has_one_more(list, start.deviations), same_deviations, "one deviation more");
    note(has_one_more(start.deviations, list), same_deviations, "one deviation less");
    note(list.size() == 3 && list[2].delay + list[1].delay == 20, same_deviations, "in between");
    note(list.size() == 1 && list[0].delay == 30, same_deviations, "one less, the other on time");
    if (list.size() != 2) continue;
    for (const auto field : {&Deviation::delay, &Deviation::cpu, &Deviation::arg}) {
      Scenario put_back = next;
      put_back.deviations[0].*field = start.deviations[0].*field;
      note(list[0].*field != start.deviations[0].*field, put_back,
           field == &Deviation::delay ? "delay"
           : field == &Deviation::cpu ? "cpu"
                                      : "arg");
    }
  }
  EXPECT_EQ(seen.size(), 13u);
  for (const auto& [what, times] : seen) EXPECT_GT(times, 120u) << what;
  EXPECT_GT(seen["in between"], 500u) << "the deviations behind a new one must stay on time";
}

/// Where the strategy takes over; the size of the list if it does not.
unsigned aimed_from(const Scenario& scenario) {
  const auto& list = scenario.deviations;
  return std::find_if(list.begin(), list.end(),
                      [](const Deviation& one) { return one.kind == EventKind::aim; }) -
         list.begin();
}

/// docs/findings.md says what the shares are worth.
TEST(Mutator, MakesNewScenariosThatAimFromTheStart) {
  constexpr unsigned kCalls = 4000;
  Scenario start;
  start.ops[0].push_back({OpKind::unmap, 0, 1, 2});
  for (unsigned i = 0; i < 20; ++i) start.deviations.push_back({10, EventKind::hold, 1, 7});
  unsigned fresh = 0;
  unsigned fresh_from_the_start = 0;
  unsigned changed_and_aims = 0;
  for (std::uint32_t seed = 0; seed < kCalls; ++seed) {
    const Scenario next = decoded(mutated(encode(start), kMaxBytes, seed, nullptr));
    const unsigned from = aimed_from(next);
    // What is only changed keeps most of what it had.
    if (std::count(next.deviations.begin(), next.deviations.end(), start.deviations[1]) < 3) {
      ++fresh;
      fresh_from_the_start += from == 0 && next.deviations[0].delay == 0 ? 1 : 0;
    } else {
      changed_and_aims += from != next.deviations.size() ? 1 : 0;
    }
  }
  EXPECT_GT(fresh, kCalls * 2 / 5);
  EXPECT_LT(fresh, kCalls * 3 / 5);
  EXPECT_GT(fresh_from_the_start, fresh * 3 / 5);
  EXPECT_GT(changed_and_aims, (kCalls - fresh) * 3 / 5);
}

/// Every second call starts anew, so, as an engine's corpus does, this keeps what is larger.
TEST(Mutator, BuildsALargestScenarioFromNothing) {
  Bytes bytes;
  std::size_t longest = 0;
  unsigned most_ops = 0;
  for (std::uint32_t seed = 0; seed < 60000; ++seed) {
    const Bytes next = mutated(bytes, kMaxBytes, seed, nullptr);
    longest = std::max(longest, next.size());
    const unsigned ops = count_ops(decoded(next));
    if (ops < most_ops) continue;
    most_ops = ops;
    bytes = next;
  }
  EXPECT_GT(longest, kMaxBytes * 2 / 3);
  EXPECT_GT(most_ops, kMaxOps * 3 / 4);
}

Bytes crossed(const Bytes& first, const Bytes& second, std::size_t max_size, std::uint32_t seed) {
  Bytes out(max_size);
  out.resize(cross_over(first, second, out, seed));
  return out;
}

TEST(CrossOver, IsDeterministicCanonicalAndBounded) {
  for (std::uint32_t seed = 0; seed < 5000; ++seed) {
    const Bytes first = generated_bytes(seed);
    const Bytes second = generated_bytes(seed + 1);
    const Bytes child = crossed(first, second, kMaxBytes, seed);
    ASSERT_EQ(child, crossed(first, second, kMaxBytes, seed));
    ASSERT_EQ(encode(decoded(child)), child);
    ASSERT_LE(crossed(first, second, seed % 200, seed).size(), seed % 200);
  }
}

TEST(CrossOver, TakesEverythingFromTheParentsAndFromBoth) {
  Scenario first;
  Scenario second;
  for (unsigned cpu = 0; cpu < 4; ++cpu) {
    for (unsigned i = 0; i < 8; ++i) {
      first.ops[cpu].push_back({OpKind::read, 0, 1, 1});
      second.ops[cpu].push_back({OpKind::write, 0, 2, 1});
    }
  }
  for (unsigned i = 0; i < 8; ++i) {
    first.deviations.push_back({1, EventKind::preempt, 1, 0});
    second.deviations.push_back({2, EventKind::fill, 2, 3});
  }
  unsigned mixed_programs = 0;
  unsigned mixed_schedules = 0;
  unsigned programs_and_schedules_of_one_each = 0;
  for (std::uint32_t seed = 0; seed < 1000; ++seed) {
    Scenario child;
    Random random(seed);
    cross_over(first, second, random, child);
    unsigned ops_of_first = 0;
    unsigned ops_of_second = 0;
    for (const auto& list : child.ops) {
      for (const Op& op : list) {
        ASSERT_TRUE(op == first.ops[0][0] || op == second.ops[0][0]);
        ++(op == first.ops[0][0] ? ops_of_first : ops_of_second);
      }
    }
    unsigned deviations_of_first = 0;
    for (const Deviation& deviation : child.deviations) {
      ASSERT_TRUE(deviation == first.deviations[0] || deviation == second.deviations[0]);
      deviations_of_first += deviation == first.deviations[0];
    }
    const unsigned deviations_of_second = child.deviations.size() - deviations_of_first;
    mixed_programs += ops_of_first != 0 && ops_of_second != 0;
    mixed_schedules += deviations_of_first != 0 && deviations_of_second != 0;
    programs_and_schedules_of_one_each +=
        ops_of_first == 32 && deviations_of_first == 0 && deviations_of_second == 8;
  }
  EXPECT_GT(mixed_programs, 300u);
  EXPECT_GT(mixed_schedules, 300u);
  EXPECT_GT(programs_and_schedules_of_one_each, 30u);
}

}  // namespace
}  // namespace shootdown::fuzz
