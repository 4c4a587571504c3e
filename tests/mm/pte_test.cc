// The rule of which change of an entry needs a flush, over every combination of the bits it knows.
#include "kernel-glue/mm/pte.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>

namespace shootdown::vm {
namespace {

/// What a translation made from `cached` may do that `memory` does not grant, bit by bit as a CPU
/// sees it. Written without a look at the rule.
bool is_older(Pte cached, Pte memory) {
  const auto has = [](Pte entry, Pte bit) { return (entry & bit) != 0; };
  if (!has(cached, kPtePresent)) return false;
  if (!has(memory, kPtePresent)) return true;
  const bool may_store_wrongly = has(cached, kPteWritable) && !has(memory, kPteWritable);
  const bool user_wrongly = has(cached, kPteUser) && !has(memory, kPteUser);
  const bool executes_wrongly = !has(cached, kPteNoExecute) && has(memory, kPteNoExecute);
  const bool hides_use = has(cached, kPteAccessed) && !has(memory, kPteAccessed);
  const bool hides_store = has(cached, kPteDirty) && !has(memory, kPteDirty);
  bool other_meaning = false;
  for (const Pte bit : {kPteWriteThrough, kPteUncached, kPteLarge, kPteGlobal, Pte{1} << 60}) {
    other_meaning |= has(cached, bit) != has(memory, bit);
  }
  return may_store_wrongly || user_wrongly || executes_wrongly || hides_use || hides_store ||
         other_meaning;
}

constexpr std::array kBits{kPtePresent,  kPteWritable, kPteUser,     kPteWriteThrough,
                           kPteUncached, kPteAccessed, kPteDirty,    kPteLarge,
                           kPteGlobal,   kPteCow,      Pte{1} << 60, kPteNoExecute};

Pte entry_of(unsigned choice) {
  Pte entry = 0x1234'5000;
  for (unsigned i = 0; i < kBits.size(); ++i) {
    if (((choice >> i) & 1) != 0) entry |= kBits[i];
  }
  return entry;
}

TEST(NeedsFlush, IsRightForEveryPairOfEntries) {
  constexpr unsigned kChoices = 1U << kBits.size();
  std::uint64_t wrong = 0;
  std::uint64_t needed = 0;
  for (unsigned before = 0; before < kChoices; ++before) {
    const Pte old = entry_of(before);
    for (unsigned after = 0; after < kChoices; ++after) {
      const Pte now = entry_of(after);
      wrong += needs_flush(old, now) != is_older(old, now) ? 1 : 0;
      needed += needs_flush(old, now) ? 1 : 0;
    }
  }
  EXPECT_EQ(wrong, 0u);
  EXPECT_GT(needed, 0u);
}

TEST(NeedsFlush, WhenAnyBitOfTheFrameDiffers) {
  constexpr Pte kEntry = kTableBits;
  for (Pte bit = Pte{1} << kPageShift; bit < Pte{1} << 52; bit <<= 1) {
    EXPECT_TRUE(needs_flush(kEntry, kEntry | bit)) << bit;
    EXPECT_TRUE(needs_flush(kEntry | bit, kEntry)) << bit;
    EXPECT_FALSE(needs_flush(0, kEntry | bit)) << "what is not present is never cached";
  }
}

TEST(NeedsFlush, NeverForSoftwaresOwnBits) {
  constexpr Pte kEntry = kTableBits;
  for (const unsigned bit : {9, 10, 11, 52, 53, 54, 55, 56, 57, 58}) {
    EXPECT_FALSE(needs_flush(kEntry, kEntry | (Pte{1} << bit))) << bit;
    EXPECT_FALSE(needs_flush(kEntry | (Pte{1} << bit), kEntry)) << bit;
  }
}

static_assert(needs_flush(kTableBits, 0) && !needs_flush(0, kTableBits));
static_assert(entry_index(0x4020'0000, 2) == 1 && entry_start(0x4020'1234, 2) == 0x4020'0000);

}  // namespace
}  // namespace shootdown::vm
