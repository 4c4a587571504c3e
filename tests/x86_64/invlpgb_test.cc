// The registers of INVLPGB, bit by bit (AMD64 manual vol. 3), and what CPUID says of it.
#include "hal/x86_64/invlpgb.h"

#include <gtest/gtest.h>

namespace shootdown::x86 {
namespace {

TEST(Invlpgb, NamesPagesOfOnePcid) {
  const InvlpgbOperands operands = encode_invlpgb(
      {.scope = InvlpgbScope::pages, .count = 4, .pcid = 0x123, .address = 0x7fff'1234'5000});
  EXPECT_EQ(operands.rax, 0x7fff'1234'5007u) << "address, PCID and ASID are valid";
  EXPECT_EQ(operands.ecx, 3u) << "pages behind the first";
  EXPECT_EQ(operands.edx, 0x123'0000u) << "PCID in bits 27:16, ASID 0";
}

TEST(Invlpgb, HasALargeStride) {
  const InvlpgbOperands operands = encode_invlpgb({.scope = InvlpgbScope::pages,
                                                   .stride_shift = kLargePageShift,
                                                   .count = 1,
                                                   .pcid = 7,
                                                   .address = 0x20'0000});
  EXPECT_EQ(operands.ecx, 0x8000'0000u);
  EXPECT_EQ(operands.rax, 0x20'0007u);
}

TEST(Invlpgb, NamesKernelPagesOfEveryPcid) {
  const InvlpgbOperands operands = encode_invlpgb({.scope = InvlpgbScope::kernel_pages,
                                                   .count = 2,
                                                   .pcid = 5,
                                                   .address = 0xffff'8000'0000'1000});
  EXPECT_EQ(operands.rax, 0xffff'8000'0000'100du) << "address, ASID, global entries; no PCID";
  EXPECT_EQ(operands.ecx, 1u);
  EXPECT_EQ(operands.edx, 0u);
}

TEST(Invlpgb, NamesAContextAllOfThemOrEverything) {
  // The address and the count say nothing then, and must be zero.
  const auto encode = [](InvlpgbScope scope) {
    return encode_invlpgb({.scope = scope, .count = 9, .pcid = 0x7ff, .address = 0x5000});
  };
  EXPECT_EQ(encode(InvlpgbScope::context), (InvlpgbOperands{0x6, 0, 0x7ff'0000}));
  EXPECT_EQ(encode(InvlpgbScope::all_contexts), (InvlpgbOperands{0x4, 0, 0}));
  EXPECT_EQ(encode(InvlpgbScope::everything), (InvlpgbOperands{0xc, 0, 0}));
}

TEST(Invlpgb, NeverLeavesCachedPointersToTables) {
  for (unsigned scope = 0; scope <= static_cast<unsigned>(InvlpgbScope::everything); ++scope) {
    const InvlpgbOperands operands = encode_invlpgb({.scope = static_cast<InvlpgbScope>(scope)});
    EXPECT_EQ(operands.rax & kInvlpgbFinalOnly, 0u) << scope;
  }
}

TEST(InvlpgbFeature, IsBitThreeAndCountsFromOne) {
  EXPECT_EQ(invlpgb_max_pages(0, 0xffff), 0u);
  EXPECT_EQ(invlpgb_max_pages(1U << 3, 0), 1u);
  EXPECT_EQ(invlpgb_max_pages(1U << 3, 0x0001'0007), 8u) << "the upper half is about RDPRU";
  EXPECT_EQ(invlpgb_max_pages(~(1U << 3), 7), 0u);
}

}  // namespace
}  // namespace shootdown::x86
