// What runs below the modelled CPUs: a host that takes processors away, hypercalls, and the hub.
#include "hal/host/hypervisor.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/paravirt/kvm.h"
#include "tests/host/two_mm_fixture.h"

namespace shootdown::host {
namespace {

constexpr std::uint8_t kFlagged = kVcpuPreempted | kVcpuFlushOnEntry;

/// Two CPUs that share an mm and spin for a while, so that there is time for the host.
struct Below {
  explicit Below(Backend backend, CpuId cpus = 2)
      : fixture({.hardware = {.cpus = cpus, .backend = backend}}), tables(fixture.frames()) {
    tables.map(kPage);
    tables.map(kFar);
  }
  void cache(VirtAddr address, std::uint16_t pcid = kFirst) {
    HostHal::write_cr3(tables.cr3(pcid) | kKeep);
    EXPECT_EQ(fixture.machine().translation().access(address, false), AccessResult::done);
  }
  bool caches(CpuId cpu, VirtAddr address, std::uint16_t pcid = kFirst) {
    return fixture.tlb(cpu).find(address, pcid) != nullptr;
  }
  static void steps(unsigned count) {
    for (unsigned i = 0; i < count; ++i) HostHal::full_fence();
  }
  void run() {
    const Report& report = fixture.run();
    EXPECT_FALSE(report.failed()) << report.title;
  }
  HypervPage& page() { return HostHal::hyperv_input(); }

  MachineFixture fixture;
  Tables tables;
};

// ---- KVM's host

TEST(KvmHost, APreemptedCpuDoesNotRunUntilItIsResumed) {
  Below below(Backend::kvm);
  std::string order;
  below.fixture.on(0, [&] {
    order += 'a';
    Below::steps(4);
    order += HostHal::vcpu_state(1).peek() == kVcpuPreempted ? 'p' : '-';
    Below::steps(4);
    order += 'b';
  });
  below.fixture.on(1, [&] { order += 'c'; });
  below.fixture.at(1, EventKind::vcpu_preempt, 1);
  below.fixture.at(1, EventKind::preempt, 1);
  below.run();
  EXPECT_EQ(order, "apbc") << "the host resumes it when no other CPU has work";
  EXPECT_EQ(HostHal::vcpu_state(1).peek(), 0);
}

TEST(KvmHost, TheRunningCpuGivesWay) {
  Below below(Backend::kvm);
  std::string order;
  below.fixture.on(0, [&] {
    order += 'a';
    Below::steps(4);
    order += 'b';
  });
  below.fixture.on(1, [&] { order += 'c'; });
  below.fixture.at(2, EventKind::vcpu_preempt, 0);
  below.run();
  EXPECT_EQ(order, "acb");
}

TEST(KvmHost, TheOnlyCpuIsResumedAtOnce) {
  Below below(Backend::kvm, 1);
  below.fixture.at(1, EventKind::vcpu_preempt, 0);
  unsigned done = 0;
  below.fixture.on(0, [&] {
    Below::steps(4);
    ++done;
  });
  below.run();
  EXPECT_EQ(done, 1u);
}

TEST(KvmHost, AFlagIsConsumedOnEntryAndTheWholeTlbGoes) {
  for (const bool flagged : {false, true}) {
    Below below(Backend::kvm);
    bool kept = false;
    below.fixture.on(0, [&] {
      HostHal::full_fence();
      below.cache(kPage);
      Below::steps(2);  // here the host takes the processor
      kept = below.caches(0, kPage);
    });
    below.fixture.on(1, [&] {
      std::uint8_t expected = kVcpuPreempted;
      const bool same = flagged && HostHal::vcpu_state(0).compare_exchange(
                                       expected, kFlagged, std::memory_order_seq_cst);
      EXPECT_EQ(same, flagged);
      EXPECT_EQ(HostHal::vcpu_state(0).peek(), flagged ? kFlagged : kVcpuPreempted);
    });
    below.fixture.at(5, EventKind::vcpu_preempt, 0);
    below.run();
    EXPECT_EQ(kept, !flagged);
    EXPECT_EQ(below.fixture.machine().hypervisor().entry_flushes(0), flagged ? 1u : 0u);
    EXPECT_EQ(HostHal::vcpu_state(0).peek(), 0);
  }
}

TEST(KvmHost, AFlagAfterTheExchangeIsRefused) {
  Below below(Backend::kvm);
  below.fixture.on(0, [&] { Below::steps(4); });
  bool refused = false;
  below.fixture.on(1, [&] {
    Below::steps(2);
    std::uint8_t expected = kVcpuPreempted;
    refused =
        !HostHal::vcpu_state(0).compare_exchange(expected, kFlagged, std::memory_order_seq_cst);
    EXPECT_FALSE(below.fixture.machine().hypervisor().will_flush(below.fixture.machine().cpu(0)));
  });
  below.fixture.at(1, EventKind::vcpu_preempt, 0);
  below.fixture.at(1, EventKind::vcpu_resume, 0);
  below.run();
  EXPECT_TRUE(refused) << "the host has read the byte, and the CPU has not run yet";
}

TEST(KvmHost, NobodyIsPreemptedInTheMiddleOfAnAccess) {
  Below below(Backend::kvm);
  below.fixture.on(0, [&] { below.cache(kPage); });
  std::uint8_t state = 0xff;
  bool in_emulation = false;
  below.fixture.on(1, [&] {
    in_emulation = below.fixture.machine().cpu(0).in_emulation;
    state = HostHal::vcpu_state(0).peek();
  });
  // Boot has no deviations; the access's second step is the third of the run.
  below.fixture.at(3, EventKind::vcpu_preempt, 0);
  below.run();
  EXPECT_TRUE(in_emulation);
  EXPECT_EQ(state, 0);
}

TEST(KvmHost, NobodyFillsWithoutAProcessor) {
  Below below(Backend::kvm);
  below.fixture.on(0, [&] {
    HostHal::write_cr3(below.tables.cr3(kFirst));
    Below::steps(4);
  });
  below.fixture.on(1, [&] {
    Below::steps(3);
    EXPECT_FALSE(below.caches(0, kPage));
  });
  below.fixture.at(3, EventKind::vcpu_preempt, 0);
  below.fixture.at(1, EventKind::fill, 0, kPage);
  below.run();
}

TEST(KvmHost, OtherBackendsHaveNoSuchHost) {
  Below below(Backend::hyperv);
  std::string order;
  below.fixture.on(0, [&] {
    Below::steps(4);
    order += 'a';
  });
  below.fixture.on(1, [&] { order += 'b'; });
  below.fixture.at(1, EventKind::vcpu_preempt, 0);
  below.run();
  EXPECT_EQ(order, "ab");
}

// ---- Hyper-V

constexpr std::uint64_t kOneEntry = std::uint64_t{1} << 32;

TEST(HypervHost, FlushesTheProcessorsNamedAndNobodyElse) {
  Below below(Backend::hyperv);
  below.fixture.on(0, [&] { below.cache(kPage); });
  below.fixture.on(1, [&] {
    below.cache(kPage);
    below.page() = {below.tables.cr3(0), 0, std::uint64_t{1} << HostHal::hyperv_processor(0)};
    EXPECT_EQ(HostHal::hyperv_call(0x02), 0u);
    EXPECT_FALSE(below.caches(0, kPage));
    EXPECT_TRUE(below.caches(1, kPage));
  });
  below.run();
}

TEST(HypervHost, FlushesEveryPcidOfTheMmAndNoOtherMm) {
  Below below(Backend::hyperv, 1);
  Tables other(below.fixture.frames());
  other.map(kPage);
  below.fixture.on(0, [&] {
    below.cache(kPage, kFirst);
    below.cache(kPage, kSecond);
    HostHal::write_cr3(other.cr3(3) | kKeep);
    EXPECT_EQ(below.fixture.machine().translation().access(kPage, false), AccessResult::done);
    below.page() = {below.tables.cr3(0), 0, std::uint64_t{1} << HostHal::hyperv_processor(0)};
    EXPECT_EQ(HostHal::hyperv_call(0x02), 0u);
    EXPECT_FALSE(below.caches(0, kPage, kFirst));
    EXPECT_FALSE(below.caches(0, kPage, kSecond));
    EXPECT_TRUE(below.caches(0, kPage, 3));
    below.page()[1] = 2;
    EXPECT_EQ(HostHal::hyperv_call(0x02), 0u);
    EXPECT_FALSE(below.caches(0, kPage, 3));
  });
  below.run();
}

TEST(HypervHost, AListTakesItsPagesAndTwoHalves) {
  Below below(Backend::hyperv, 1);
  below.fixture.on(0, [&] {
    below.cache(kPage);
    below.cache(kFar);
    below.page() = {below.tables.cr3(0), 0, std::uint64_t{1} << HostHal::hyperv_processor(0), kPage,
                    kFar};
    EXPECT_EQ(HostHal::hyperv_call(0x03 | (2 * kOneEntry)), kOneEntry) << "one entry is done";
    EXPECT_FALSE(below.caches(0, kPage));
    EXPECT_TRUE(below.caches(0, kFar));
    EXPECT_EQ(HostHal::hyperv_call(0x03 | (2 * kOneEntry) | (std::uint64_t{1} << 48)),
              2 * kOneEntry);
    EXPECT_FALSE(below.caches(0, kFar));
  });
  below.run();
}

TEST(HypervHost, SparseSets) {
  Below below(Backend::hyperv, 3);
  below.fixture.on(0, [&] { below.cache(kPage); });
  below.fixture.on(2, [&] {
    below.cache(kPage);
    const std::uint32_t number = HostHal::hyperv_processor(2);
    EXPECT_GE(number, 64u);
    below.page() = {below.tables.cr3(0), 0, 0, 0b10, std::uint64_t{1} << (number - 64)};
    EXPECT_EQ(HostHal::hyperv_call(0x13 | (1U << 17)), 0u);
    EXPECT_FALSE(below.caches(2, kPage));
    EXPECT_TRUE(below.caches(0, kPage));
    EXPECT_NE(HostHal::hyperv_call(0x13), 0u) << "the header does not say how many banks";
    EXPECT_NE(HostHal::hyperv_call(0x99), 0u) << "no such call";
  });
  below.run();
}

TEST(HypervHost, InjectedFaults) {
  Below below(Backend::hyperv, 1);
  below.fixture.at(1, EventKind::fail, 0, 0);
  below.fixture.at(3, EventKind::fail, 0, 1);
  below.fixture.on(0, [&] {
    below.cache(kPage);
    below.page() = {below.tables.cr3(0), 0, std::uint64_t{1} << HostHal::hyperv_processor(0)};
    EXPECT_NE(HostHal::hyperv_call(0x02), 0u);
    EXPECT_TRUE(below.caches(0, kPage));
    EXPECT_EQ(HostHal::hyperv_call(0x02), 0u) << "once";
    Below::steps(2);
    EXPECT_EQ(HostHal::hyperv_processor(0), kNoProcessor);
  });
  below.run();
}

// ---- Xen

TEST(XenHost, OneAddressOrEverything) {
  Below below(Backend::xen);
  below.fixture.on(0, [&] {
    below.cache(kPage, kFirst);
    below.cache(kPage, kSecond);
    below.cache(kFar, kSecond);
  });
  below.fixture.on(1, [&] {
    const std::uint64_t targets = 0b01;
    const auto bits = reinterpret_cast<std::uintptr_t>(&targets);
    EXPECT_EQ(
        HostHal::xen_operation({.command = kXenInvlpgMulti, .address = kPage, .processors = bits}),
        0);
    EXPECT_FALSE(below.caches(0, kPage, kFirst));
    EXPECT_FALSE(below.caches(0, kPage, kSecond));
    EXPECT_TRUE(below.caches(0, kFar, kSecond));
    EXPECT_EQ(HostHal::xen_operation({.command = kXenFlushMulti, .processors = bits}), 0);
    EXPECT_FALSE(below.caches(0, kFar, kSecond));
    EXPECT_LT(HostHal::xen_operation({.command = 1}), 0);
  });
  below.run();
}

// ---- Hub

TEST(BauHost, DeliversByAnInterruptOfItsOwnAndReturnsWhomItDoesNotReach) {
  Below below(Backend::uv_bau, 3);
  std::vector<CpuId> handled;
  below.fixture.on_bau_interrupt([&] {
    BauMessage message{};
    while (HostHal::bau_receive(message)) {
      handled.push_back(HostHal::this_cpu());
      EXPECT_EQ(message.address, kPage);
      HostHal::bau_acknowledge(message);
    }
  });
  // The last CPU sends, when the others have opened and closed their ends.
  below.fixture.on(0, [&] { HostHal::bau_open(); });
  below.fixture.on(1, [&] {
    HostHal::bau_open();
    HostHal::bau_close();
  });
  below.fixture.on(2, [&] {
    HostCpuMask both;
    both.set(0);
    both.set(1);
    const HostCpuMask leftover = HostHal::bau_send({.address = kPage, .sender = 2}, both);
    EXPECT_EQ(leftover.word(0), 0b10u) << "CPU 1 has closed its end";
    EXPECT_TRUE(HostHal::bau_outstanding());
    while (HostHal::bau_outstanding()) HostHal::pause();
  });
  below.run();
  EXPECT_EQ(handled, std::vector<CpuId>{0});
}

}  // namespace
}  // namespace shootdown::host
