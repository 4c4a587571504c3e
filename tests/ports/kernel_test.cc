// What a scenario may ask of the kernel around Linux's code.
#include "ports/linux/kernel.h"

#include <gtest/gtest.h>

#include "ports/harness/kernel.h"

namespace shootdown::port {
namespace {

class LinuxHeader : public ::testing::Test {
 protected:
  fuzz::Header kept(fuzz::Header header) {
    kernel.keep(header);
    return header;
  }

  host::Machine machine;
  model::Code code;
  Glue glue;
  LinuxKernel linux_kernel{machine, code, glue};
  ForeignKernel& kernel{linux_kernel};
};

TEST_F(LinuxHeader, HasPcidsWithGlobalPagesOnly) {
  EXPECT_TRUE(kept({.pcid = true}).pcid);
  EXPECT_FALSE(kept({.pcid = true, .global_pages = false}).pcid);
}

TEST_F(LinuxHeader, KnowsNothingOfWhatItHasNot) {
  EXPECT_EQ(kept({.concurrent = false, .early = true, .broadcast = true, .device = true}),
            fuzz::Header{});
  EXPECT_EQ(kept({.backend = fuzz::Backend::kvm}), fuzz::Header{});
}

TEST_F(LinuxHeader, KeepsWhatIsDrawnForIt) {
  unsigned isolated = 0;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    fuzz::Random random(seed);
    fuzz::Header header;
    draw_linux_header(random, header);
    header.pcid = header.pcid && header.global_pages;
    EXPECT_EQ(kept(header), header) << seed;
    isolated += header.pti ? 1 : 0;
  }
  EXPECT_GT(isolated, 20U);
  EXPECT_LT(isolated, 100U);
}

}  // namespace
}  // namespace shootdown::port
