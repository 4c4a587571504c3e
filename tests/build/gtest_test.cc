#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdint>

#include "tests/build/probe.h"

namespace shootdown::probe {
namespace {

TEST(Gtest, RunsInEveryVariant) {
  constexpr std::array<std::uint32_t, 2> kCpus{0, 63};
  EXPECT_THAT(probe_body(kCpus.data(), 2), ::testing::Eq(4));
}

}  // namespace
}  // namespace shootdown::probe
