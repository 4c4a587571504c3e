#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "tests/build/probe.h"

namespace shootdown::probe {
namespace {

TEST(Gtest, RunsInEveryVariant) {
  Generation generation;
  std::thread other([&] { generation.advance(); });
  generation.advance();
  other.join();
  EXPECT_THAT(generation.advance(), ::testing::Eq(4U));
}

}  // namespace
}  // namespace shootdown::probe
