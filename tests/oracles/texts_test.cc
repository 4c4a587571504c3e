// What reports say is true in the configuration at hand: the sentences that once were not.
#include <gtest/gtest.h>

#include <string>

#include "fuzz/events/layout.h"
#include "tests/oracles/oracle_fixture.h"

namespace shootdown::fuzz {
namespace {

bool says(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

TEST(Text, OfAKernelPageNamesTheKernelPage) {
  OracleFixture fixture;
  TlbSnapshot snapshot(fixture);
  fixture.before(TraceKind::kernel_begin, 0, [&] { snapshot.take(1); });
  fixture.before(TraceKind::kernel_end, 0, [&] { snapshot.put_back(1); });
  fixture.expect("O13 a kernel range is flushed but a CPU can still use an older translation",
                 {{await(1), op("kernel_unmap page=1")}, {op("kernel_read page=1"), go(1)}});
  EXPECT_EQ(fixture.report.first.what, "cached kernel page 1");
}

TEST(Text, TellsAnEarlierLifeOfAnMmFromThisOne) {
  OracleFixture fixture;
  const auto age = [&] {
    for (host::TlbEntry& entry : fixture.machine.cpu(0).tlb.entries) --entry.from.life;
  };
  fixture.expect("O4 a CPU uses a translation of another address space",
                 {{op("read page=1"), wrong([&] {
                     // A life of 0 would be none.
                     for (host::TlbEntry& entry : fixture.machine.cpu(0).tlb.entries) {
                       entry.from.life += 2;
                     }
                     age();
                   }),
                   op("read page=1")}});
  EXPECT_TRUE(says(fixture.report.detail, "runs mm0 but the entry is from an earlier mm0"))
      << fixture.report.detail;
}

TEST(Text, OfAFlushByAHypervisorDoesNotSpeakOfInterrupts) {
  OracleFixture fixture;
  host::HostCpuMask other;
  other.set(1);
  fixture.after(TraceKind::flush_begin, 0, [&] {
    fixture.oracles.on_remote_flush(0, other);
    fixture.machine.stop_if_failed();
  });
  fixture.expect("O19 a hypervisor is to flush a CPU outside the mask",
                 {{await(1), op("protect mm=0 page=1")}, {op("switch_to mm=1"), go(1)}},
                 {.backend = Backend::hyperv});
}

TEST(Text, SaysWhatDisagreesWithCr3) {
  OracleFixture fixture;
  fixture.expect("O8 interrupts are on while the bookkeeping and CR3 disagree", {{wrong([&] {
                   fixture.loaded_asid(0).context = fixture.core_mm(1).context;
                   HostHal::enable_interrupts();
                 })}});
  EXPECT_TRUE(says(fixture.report.detail, "names an ASID that belongs to another mm"))
      << fixture.report.detail;
}

TEST(Text, OfAWalkThroughATableThatIsAliveDoesNotSayThatItWasReleased) {
  OracleFixture fixture;
  TlbSnapshot snapshot(fixture);
  fixture.expect("O5 a walk reads a page table of another address space",
                 {{op("read page=1"), await(1), wrong([&] {
                     snapshot.take(1);
                     fixture.machine.cpu(0).tlb.clear();
                     snapshot.put_tables(0, 1);
                   }),
                   op("read page=2")},
                  {op("switch_to mm=1"), op("read page=1"), go(1)}});
  EXPECT_TRUE(says(fixture.report.detail, "walks for mm0 and reads a table of mm1"))
      << fixture.report.detail;
}

TEST(Text, OfATemporaryMmSaysWhatIsLeft) {
  OracleFixture fixture;
  const auto use_temporary = [&] {
    fixture.oracles.on_temporary_begin(0);
    HostHal::disable_interrupts();
    fixture.system().cpus[0].shared.is_lazy.store(true, std::memory_order_relaxed);
    HostHal::enable_interrupts();
    fixture.oracles.on_temporary_end(0);
    fixture.machine.stop_if_failed();
  };
  fixture.expect("O25 a temporary mm does not end as it began", {{wrong(use_temporary)}});
  EXPECT_TRUE(says(fixture.report.detail, "cpu0 is lazy")) << fixture.report.detail;
}

}  // namespace
}  // namespace shootdown::fuzz
