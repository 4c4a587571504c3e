// Which backend a processor's CPUID leaves, and what the firmware says, call for. Pure functions
// over tables, so that the build host can test what no emulator here can show.
#pragma once

#include <cstdint>
#include <string_view>

namespace shootdown::x86 {

struct CpuidLeaf {
  std::uint32_t eax{0};
  std::uint32_t ebx{0};
  std::uint32_t ecx{0};
  std::uint32_t edx{0};
};

enum class FlushBackend : std::uint8_t { native, kvm, hyperv, xen, uv_bau };

[[nodiscard]] constexpr const char* name(FlushBackend backend) {
  switch (backend) {
    case FlushBackend::native:
      return "native";
    case FlushBackend::kvm:
      return "kvm";
    case FlushBackend::hyperv:
      return "hyperv";
    case FlushBackend::xen:
      return "xen";
    case FlushBackend::uv_bau:
      return "uv_bau";
  }
  return "unknown";
}

/// What CPUID cannot tell.
struct PlatformFacts {
  /// The kernel was entered as a paravirtual Xen domain: by Xen's own boot protocol, in ring 3 or
  /// 1. A fully virtualised one owns its TLB and flushes natively.
  bool xen_paravirtual{false};
  /// ACPI, table MADT: the OEM identity. UV machines say "SGI" and a table id that begins with
  /// "UV".
  std::string_view oem_id{};
  std::string_view oem_table_id{};
  /// A driver of the machine's broadcast hub (UV BAU) is at work.
  bool bau_driver{false};
  /// CPUs that will run.
  unsigned cpus{1};
};

/// What was found and how to reach it.
struct Identity {
  FlushBackend backend{FlushBackend::native};
  std::uint32_t base{0};           // first CPUID leaf of the hypervisor in use
  bool hyperv_sparse_sets{false};  // processors from 64 on can be named
};

namespace internal {

inline constexpr std::uint32_t kFirstHypervisorLeaf = 0x4000'0000;
inline constexpr std::uint32_t kHypervisorStep = 0x100;
inline constexpr std::uint32_t kHypervisors = 0x100;

/// The twelve letters in EBX, ECX, EDX.
constexpr bool is_signed(const CpuidLeaf& leaf, std::string_view letters) {
  for (unsigned i = 0; i < 12; ++i) {
    const std::uint32_t word = i < 4 ? leaf.ebx : i < 8 ? leaf.ecx : leaf.edx;
    const auto letter = static_cast<char>((word >> (8 * (i % 4))) & 0xff);
    if (letter != (i < letters.size() ? letters[i] : '\0')) return false;
  }
  return true;
}

/// The first leaf of the hypervisor that signs so, or 0. There may be several, one pretending to be
/// another for guests that know only that.
template <class Cpuid>
constexpr std::uint32_t find_hypervisor(Cpuid&& cpuid, std::string_view letters) {
  for (std::uint32_t i = 0; i < kHypervisors; ++i) {
    const std::uint32_t base = kFirstHypervisorLeaf + (i * kHypervisorStep);
    const CpuidLeaf leaf = cpuid(base);
    if (is_signed(leaf, letters)) return base;
    if (leaf.eax < base || leaf.eax >= base + kHypervisorStep) break;  // no hypervisor
  }
  return 0;
}

constexpr bool bit(std::uint32_t word, unsigned index) { return ((word >> index) & 1) != 0; }

/// KVM (Linux, Documentation/virt/kvm/x86/cpuid.rst). The flag helps only where vCPUs lose their
/// processors: not with the hint that they keep them, not where the guest may use MWAIT, which is
/// given to guests that own theirs, and not on a single CPU.
template <class Cpuid>
constexpr bool kvm_flushes(Cpuid&& cpuid, std::uint32_t base, const PlatformFacts& facts) {
  constexpr unsigned kStealTime = 5;
  constexpr unsigned kFlush = 9;
  constexpr unsigned kRealtimeHint = 0;
  constexpr unsigned kMonitor = 3;  // of CPUID.1:ECX
  const CpuidLeaf features = cpuid(base + 1);
  return bit(features.eax, kStealTime) && bit(features.eax, kFlush) &&
         !bit(features.edx, kRealtimeHint) && !bit(cpuid(1).ecx, kMonitor) && facts.cpus > 1;
}

/// Hyper-V (Top Level Functional Specification, 2.4): hypercalls, processor numbers, and the
/// recommendation to flush remote CPUs by hypercall.
template <class Cpuid>
constexpr bool hyperv_flushes(Cpuid&& cpuid, std::uint32_t base) {
  constexpr std::uint32_t kInterface = 0x31237648;  // "Hv#1"
  constexpr unsigned kHypercalls = 5;
  constexpr unsigned kNumbers = 6;
  constexpr unsigned kRemoteFlush = 2;
  return cpuid(base + 1).eax == kInterface && bit(cpuid(base + 3).eax, kHypercalls) &&
         bit(cpuid(base + 3).eax, kNumbers) && bit(cpuid(base + 4).eax, kRemoteFlush);
}

}  // namespace internal

/// Decides. `cpuid(leaf)` returns a leaf as the processor does, from a table in tests. KVM before
/// Hyper-V: KVM pretends to be that one as well, and its own way needs no hypercall.
template <class Cpuid>
[[nodiscard]] constexpr Identity identify(Cpuid&& cpuid, const PlatformFacts& facts) {
  using namespace std::string_view_literals;   // Their length is a constant: no strlen here.
  constexpr unsigned kHypervisorPresent = 31;  // of CPUID.1:ECX
  constexpr unsigned kSparseSets = 11;
  if (facts.xen_paravirtual) return {.backend = FlushBackend::xen};
  if (internal::bit(cpuid(1).ecx, kHypervisorPresent)) {
    const std::uint32_t kvm = internal::find_hypervisor(cpuid, "KVMKVMKVM"sv);
    if (kvm != 0 && internal::kvm_flushes(cpuid, kvm, facts)) {
      return {.backend = FlushBackend::kvm, .base = kvm};
    }
    const std::uint32_t hyperv = internal::find_hypervisor(cpuid, "Microsoft Hv"sv);
    if (kvm == 0 && hyperv != 0 && internal::hyperv_flushes(cpuid, hyperv)) {
      return {.backend = FlushBackend::hyperv,
              .base = hyperv,
              .hyperv_sparse_sets = internal::bit(cpuid(hyperv + 4).eax, kSparseSets)};
    }
    return {};
  }
  const bool is_uv = facts.oem_id.starts_with("SGI"sv) && facts.oem_table_id.starts_with("UV"sv);
  if (is_uv && facts.bau_driver) return {.backend = FlushBackend::uv_bau};
  return {};
}

}  // namespace shootdown::x86
