// Which backend is chosen from which CPUID leaves, and what is written to the hypervisors'
// registers.
#include "hal/x86_64/paravirt/identify.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <map>

#include "hal/x86_64/paravirt/registers.h"

namespace shootdown::x86 {
namespace {

constexpr std::uint32_t kBase = 0x4000'0000;

/// The leaves of one processor. One that is not listed reads as zero.
class Processor {
 public:
  Processor& leaf(std::uint32_t number, CpuidLeaf value) {
    leaves_[number] = value;
    return *this;
  }
  /// A hypervisor that signs at `base`.
  Processor& hypervisor(std::uint32_t base, const char* letters) {
    char bytes[12] = {};
    std::copy_n(letters, std::strlen(letters), bytes);
    CpuidLeaf value{.eax = base + 5};
    std::memcpy(&value.ebx, bytes, 4);
    std::memcpy(&value.ecx, bytes + 4, 4);
    std::memcpy(&value.edx, bytes + 8, 4);
    leaves_[1].ecx |= 1U << 31;
    return leaf(base, value);
  }
  [[nodiscard]] Identity identified(const PlatformFacts& facts = {.cpus = 4}) const {
    return identify(
        [this](std::uint32_t number) {
          const auto found = leaves_.find(number);
          return found != leaves_.end() ? found->second : CpuidLeaf{};
        },
        facts);
  }
  [[nodiscard]] FlushBackend backend(const PlatformFacts& facts = {.cpus = 4}) const {
    return identified(facts).backend;
  }

 private:
  std::map<std::uint32_t, CpuidLeaf> leaves_;
};

constexpr std::uint32_t kStealAndFlush = (1U << 5) | (1U << 9);

Processor kvm(std::uint32_t base = kBase) {
  return Processor().hypervisor(base, "KVMKVMKVM").leaf(base + 1, {.eax = kStealAndFlush});
}

Processor hyperv(std::uint32_t recommended = 1U << 2) {
  return Processor()
      .hypervisor(kBase, "Microsoft Hv")
      .leaf(kBase + 1, {.eax = 0x3123'7648})
      .leaf(kBase + 3, {.eax = (1U << 5) | (1U << 6)})
      .leaf(kBase + 4, {.eax = recommended});
}

TEST(Identify, ABareMachineIsNative) {
  EXPECT_EQ(Processor().backend(), FlushBackend::native);
  EXPECT_STREQ(name(FlushBackend::native), "native");
}

TEST(Identify, LeavesWithoutTheHypervisorBitAreNotRead) {
  Processor processor = kvm();
  processor.leaf(1, {});
  EXPECT_EQ(processor.backend(), FlushBackend::native);
}

TEST(Identify, AnUnknownHypervisorIsNative) {
  EXPECT_EQ(Processor().hypervisor(kBase, "TCGTCGTCGTCG").backend(), FlushBackend::native);
}

TEST(Identify, KvmNeedsBothFeatures) {
  EXPECT_EQ(kvm().backend(), FlushBackend::kvm);
  EXPECT_EQ(kvm().identified().base, kBase);
  EXPECT_EQ(kvm().leaf(kBase + 1, {.eax = 1U << 5}).backend(), FlushBackend::native);
  EXPECT_EQ(kvm().leaf(kBase + 1, {.eax = 1U << 9}).backend(), FlushBackend::native);
}

TEST(Identify, KvmIsOfNoUseToCpusThatKeepTheirProcessors) {
  EXPECT_EQ(kvm().leaf(kBase + 1, {.eax = kStealAndFlush, .edx = 1}).backend(),
            FlushBackend::native);
  EXPECT_EQ(kvm().leaf(1, {.ecx = (1U << 31) | (1U << 3)}).backend(), FlushBackend::native);
  EXPECT_EQ(kvm().backend({.cpus = 1}), FlushBackend::native);
}

TEST(Identify, KvmBehindAnotherSignature) {
  Processor both = hyperv().hypervisor(kBase + 0x100, "KVMKVMKVM");
  both.leaf(kBase + 0x101, {.eax = kStealAndFlush});
  EXPECT_EQ(both.backend(), FlushBackend::kvm);
  EXPECT_EQ(both.identified().base, kBase + 0x100);
}

TEST(Identify, ASignatureBehindAGapIsNotFound) {
  EXPECT_EQ(Processor().leaf(1, {.ecx = 1U << 31}).leaf(kBase, {}).backend(), FlushBackend::native);
  EXPECT_EQ(kvm(kBase + 0x200).backend(), FlushBackend::native);
}

TEST(Identify, HypervNeedsInterfaceRightsAndRecommendation) {
  EXPECT_EQ(hyperv().backend(), FlushBackend::hyperv);
  EXPECT_EQ(hyperv(0).backend(), FlushBackend::native);
  EXPECT_EQ(hyperv().leaf(kBase + 1, {}).backend(), FlushBackend::native);
  EXPECT_EQ(hyperv().leaf(kBase + 3, {.eax = 1U << 5}).backend(), FlushBackend::native);
  EXPECT_EQ(hyperv().leaf(kBase + 3, {.eax = 1U << 6}).backend(), FlushBackend::native);
}

TEST(Identify, HypervTellsWhetherSetsMayBeSparse) {
  EXPECT_FALSE(hyperv().identified().hyperv_sparse_sets);
  EXPECT_TRUE(hyperv((1U << 2) | (1U << 11)).identified().hyperv_sparse_sets);
}

TEST(Identify, XenByTheWayInAndNotByCpuid) {
  const Processor xen = Processor().hypervisor(kBase, "XenVMMXenVMM");
  EXPECT_EQ(xen.backend(), FlushBackend::native) << "fully virtualised";
  EXPECT_EQ(xen.backend({.xen_paravirtual = true}), FlushBackend::xen);
}

TEST(Identify, UvByFirmwareAndOnlyWithADriver) {
  const PlatformFacts uv_bau{.oem_id = "SGI", .oem_table_id = "UVX", .bau_driver = true, .cpus = 4};
  EXPECT_EQ(Processor().backend(uv_bau), FlushBackend::uv_bau);
  PlatformFacts other = uv_bau;
  other.bau_driver = false;
  EXPECT_EQ(Processor().backend(other), FlushBackend::native);
  other = uv_bau;
  other.oem_table_id = "ICE";
  EXPECT_EQ(Processor().backend(other), FlushBackend::native);
  EXPECT_EQ(Processor().hypervisor(kBase, "KVMKVMKVM").backend(uv_bau), FlushBackend::native)
      << "a guest does not own the hub";
}

// ---- Registers

template <class T>
struct Plain {
  T value;
};

TEST(Registers, TheStealTimeRecordIsAsTheHostWritesIt) {
  using Record = StealTime<Plain>;
  EXPECT_EQ(sizeof(Record), 64u);
  EXPECT_EQ(alignof(Record), 64u);
  EXPECT_EQ(offsetof(Record, version), 8u);
  EXPECT_EQ(offsetof(Record, preempted), 16u);
  EXPECT_EQ(steal_time_value(0x12'3440), 0x12'3441u);
}

TEST(Registers, TheHypercallPageKeepsWhatIsReserved) {
  EXPECT_EQ(hyperv_hypercall_value(0, 0x5000), 0x5001u);
  EXPECT_EQ(hyperv_hypercall_value(0x9ffe, 0x5000), 0x5fffu);
}

TEST(Registers, TheGuestHasAnIdentity) {
  EXPECT_NE(hyperv_guest_id(0), 0u);
  EXPECT_EQ(hyperv_guest_id(3) >> 63, 1u);
  EXPECT_EQ((hyperv_guest_id(3) >> 16) & 0xff, 3u);
}

}  // namespace
}  // namespace shootdown::x86
