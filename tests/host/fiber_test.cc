// Fibers: switching, starting anew, and leaving one where it stands. The sanitizers must follow.
#include "hal/host/fiber.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace shootdown::host {
namespace {

struct Ring {
  Fiber host;
  std::array<Fiber, 3> fibers;
  std::vector<int> log;
};

struct Member {
  Ring* ring;
  int id;
  int rounds{0};
};

/// Passes on to the next fiber, the last one back to the host, for ever.
void pass_on(void* argument) {
  auto& self = *static_cast<Member*>(argument);
  for (;;) {
    self.ring->log.push_back(self.id);
    ++self.rounds;
    const auto id = static_cast<std::size_t>(self.id);
    Fiber& next = id + 1 < self.ring->fibers.size() ? self.ring->fibers[id + 1] : self.ring->host;
    Fiber::switch_to(self.ring->fibers[id], next);
  }
}

TEST(Fiber, PassesControlInTurnsAndKeepsItsPlace) {
  Ring ring;
  std::array<Member, 3> members{{{&ring, 0}, {&ring, 1}, {&ring, 2}}};
  for (std::size_t i = 0; i < 3; ++i) ring.fibers[i].prepare(pass_on, &members[i]);
  for (int round = 1; round <= 3; ++round) {
    Fiber::switch_to(ring.host, ring.fibers[0]);
    for (const Member& member : members) EXPECT_EQ(member.rounds, round);
  }
  EXPECT_EQ(ring.log, (std::vector<int>{0, 1, 2, 0, 1, 2, 0, 1, 2}));
}

struct Keeper {
  Fiber host;
  Fiber fiber;
  std::uint64_t sum{0};
  double product{0};
};

/// Local variables, integer and floating point, live across switches.
void keep_values(void* argument) {
  auto& self = *static_cast<Keeper*>(argument);
  std::uint64_t a = 1;
  std::uint64_t b = 2;
  std::uint64_t c = 3;
  std::uint64_t d = 4;
  double x = 1.5;
  for (;;) {
    self.sum = a + b + c + d;
    self.product = x;
    Fiber::switch_to(self.fiber, self.host);
    a *= 2;
    b *= 3;
    c *= 5;
    d *= 7;
    x *= 2;
  }
}

TEST(Fiber, KeepsLocalVariables) {
  Keeper keeper;
  keeper.fiber.prepare(keep_values, &keeper);
  std::uint64_t a = 1;
  std::uint64_t b = 2;
  std::uint64_t c = 3;
  std::uint64_t d = 4;
  double x = 1.5;
  for (int i = 0; i < 5; ++i) {
    Fiber::switch_to(keeper.host, keeper.fiber);
    EXPECT_EQ(keeper.sum, a + b + c + d);
    EXPECT_EQ(keeper.product, x);
    a *= 2;
    b *= 3;
    c *= 5;
    d *= 7;
    x *= 2;
  }
}

struct Deep {
  Fiber host;
  Fiber fiber;
  int depth{0};
  bool aligned{true};
};

/// Leaves from deep inside, so that what is abandoned has frames, redzones and locals.
// NOLINTNEXTLINE(misc-no-recursion)
void descend(Deep& self, int depth) {
  alignas(16) std::array<char, 200> local{};
  local[static_cast<std::size_t>(depth)] = 1;
  self.aligned = self.aligned && reinterpret_cast<std::uintptr_t>(local.data()) % 16 == 0;
  self.depth = depth;
  if (depth < 50) descend(self, depth + 1);
  Fiber::switch_to(self.fiber, self.host);
  self.depth += local[static_cast<std::size_t>(depth)];
}

void start_descent(void* argument) {
  auto& self = *static_cast<Deep*>(argument);
  descend(self, 0);
  for (;;) Fiber::switch_to(self.fiber, self.host);
}

TEST(Fiber, IsAbandonedWhereItStandsAndUsedAgain) {
  Deep deep;
  for (int run = 0; run < 20; ++run) {
    deep.fiber.prepare(start_descent, &deep);
    deep.depth = -1;
    Fiber::switch_to(deep.host, deep.fiber);
    EXPECT_EQ(deep.depth, 50);
    EXPECT_TRUE(deep.aligned);
    if (run % 2 == 0) Fiber::switch_to(deep.host, deep.fiber);  // Climbs one frame, then is left.
  }
}

TEST(Fiber, CanBeDestroyedInTheMiddle) {
  for (int run = 0; run < 20; ++run) {
    Deep deep;
    deep.fiber.prepare(start_descent, &deep);
    Fiber::switch_to(deep.host, deep.fiber);
    EXPECT_EQ(deep.depth, 50);
  }
}

TEST(Fiber, RunsCodeThatAllocates) {
  struct Writer {
    Fiber host;
    Fiber fiber;
    std::vector<std::string> lines;
  } writer;
  writer.fiber.prepare(
      [](void* argument) {
        auto& self = *static_cast<Writer*>(argument);
        for (int i = 0;; ++i) {
          self.lines.push_back("a line that is longer than a small string: " + std::to_string(i));
          Fiber::switch_to(self.fiber, self.host);
        }
      },
      &writer);
  for (int i = 0; i < 10; ++i) Fiber::switch_to(writer.host, writer.fiber);
  ASSERT_EQ(writer.lines.size(), 10u);
  EXPECT_EQ(writer.lines[9], "a line that is longer than a small string: 9");
}

}  // namespace
}  // namespace shootdown::host
