// Which processors have an erratum, by their CPUID signatures.
#include "hal/x86_64/errata.h"

#include <gtest/gtest.h>

namespace shootdown::x86 {
namespace {

constexpr std::uint32_t kIntel = 0x756e6547;
constexpr std::uint32_t kAmd = 0x68747541;

TEST(Errata, InvlpgOfAlderAndRaptorLake) {
  for (const std::uint32_t signature :
       {0x90672u, 0x906a3u, 0xb06e0u, 0xb0671u, 0xb06a2u, 0xb06f2u}) {
    EXPECT_TRUE(invlpg_leaves_globals(kIntel, signature)) << std::hex << signature;
    EXPECT_FALSE(invlpg_leaves_globals(kAmd, signature)) << std::hex << signature;
  }
}

TEST(Errata, NotOfOthers) {
  // Haswell, Skylake, Rocket Lake, Sapphire Rapids, Meteor Lake; family 15 with the same model
  // bits.
  for (const std::uint32_t signature :
       {0x306c3u, 0x506e3u, 0xa0671u, 0x806f8u, 0xa06a4u, 0x90f72u}) {
    EXPECT_FALSE(invlpg_leaves_globals(kIntel, signature)) << std::hex << signature;
  }
}

}  // namespace
}  // namespace shootdown::x86
