// What reports say is true in the configuration at hand: the sentences that once were not.
#include <gtest/gtest.h>

#include <string>

#include "fuzz/events/layout.h"
#include "tests/oracles/trial.h"

namespace shootdown::fuzz {
namespace {

bool says(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

TEST(Text, OfAKernelPageNamesTheKernelPage) {
  Trial trial;
  Loot loot(trial);
  trial.before(TraceKind::kernel_begin, 0, [&] { loot.take(1); });
  trial.before(TraceKind::kernel_end, 0, [&] { loot.put_back(1); });
  trial.expect("O13 a kernel range is flushed but a CPU can still use an older translation",
               {{await(1), op("kernel_unmap page=1")}, {op("kernel_read page=1"), go(1)}});
  EXPECT_EQ(trial.report.first.what, "cached kernel page 1");
}

TEST(Text, TellsAnEarlierLifeOfASpaceFromThisOne) {
  Trial trial;
  const auto age = [&] {
    for (host::TlbEntry& entry : trial.machine.cpu(0).tlb.entries) --entry.from.life;
  };
  trial.expect("O4 a CPU uses a translation of another address space",
               {{op("read page=1"), wrong([&] {
                   // A life of 0 would be none.
                   for (host::TlbEntry& entry : trial.machine.cpu(0).tlb.entries) {
                     entry.from.life += 2;
                   }
                   age();
                 }),
                 op("read page=1")}});
  EXPECT_TRUE(says(trial.report.detail, "runs mm0 but the entry is from an earlier mm0"))
      << trial.report.detail;
}

TEST(Text, OfAFlushByAHypervisorDoesNotSpeakOfInterrupts) {
  Trial trial;
  host::HostCpuMask other;
  other.set(1);
  trial.after(TraceKind::flush_begin, 0, [&] {
    trial.oracles.on_remote_flush(0, other);
    trial.machine.stop_if_failed();
  });
  trial.expect("O19 a hypervisor is to flush a CPU outside the mask",
               {{await(1), op("protect mm=0 page=1")}, {op("switch_to mm=1"), go(1)}},
               {.backend = Backend::hyperv});
}

TEST(Text, SaysWhatDisagreesWithCr3) {
  Trial trial;
  trial.expect("O8 interrupts are on while the bookkeeping and CR3 disagree", {{wrong([&] {
                 trial.loaded_slot(0).context = trial.mm(1).context;
                 HostHal::enable_interrupts();
               })}});
  EXPECT_TRUE(says(trial.report.detail, "names a slot that belongs to another space"))
      << trial.report.detail;
}

TEST(Text, OfAWalkThroughATableThatIsAliveDoesNotSayThatItWasReleased) {
  Trial trial;
  Loot loot(trial);
  trial.expect("O5 a walk reads a page table of another address space",
               {{op("read page=1"), await(1), wrong([&] {
                   loot.take(1);
                   trial.machine.cpu(0).tlb.clear();
                   loot.put_tables(0, 1);
                 }),
                 op("read page=2")},
                {op("switch_to mm=1"), op("read page=1"), go(1)}});
  EXPECT_TRUE(says(trial.report.detail, "walks for mm0 and reads a table of mm1"))
      << trial.report.detail;
}

TEST(Text, OfATemporarySpaceSaysWhatIsLeft) {
  Trial trial;
  const auto use_temporary = [&] {
    trial.oracles.on_temporary_begin(0);
    HostHal::disable_interrupts();
    trial.system().cpus[0].shared.is_lazy.store(true, std::memory_order_relaxed);
    HostHal::enable_interrupts();
    trial.oracles.on_temporary_end(0);
    trial.machine.stop_if_failed();
  };
  trial.expect("O25 a temporary space does not end as it began", {{wrong(use_temporary)}});
  EXPECT_TRUE(says(trial.report.detail, "cpu0 is lazy")) << trial.report.detail;
}

}  // namespace
}  // namespace shootdown::fuzz
