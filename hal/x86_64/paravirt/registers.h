// What is written to the hypervisors' registers, and the records they share with the guest. Numbers
// and layouts only: the instructions are in hypercalls.cc.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "core/types.h"

namespace shootdown::x86 {

// KVM (Linux, Documentation/virt/kvm/x86/msr.rst).

inline constexpr std::uint32_t kMsrKvmStealTime = 0x4b56'4d03;

/// Where the host reports on one vCPU. 64 bytes, 64-byte aligned, never moved while it is
/// registered: the host may keep the place, and a guest that looked elsewhere would leave its flag
/// where the host does not read it.
template <template <class> class Atomic>
struct alignas(64) StealTime {
  std::uint64_t steal{0};
  std::uint32_t version{0};
  std::uint32_t flags{0};
  Atomic<std::uint8_t> preempted{0};
  std::uint8_t padding[47]{};
};

/// The register's value for a record at `record`; 0 unregisters.
[[nodiscard]] constexpr std::uint64_t steal_time_value(PhysAddr record) {
  constexpr std::uint64_t kEnable = 1;
  return record | kEnable;
}

// Hyper-V (Top Level Functional Specification 6.0b, 2.6, 3.13, 7.8.1).

inline constexpr std::uint32_t kMsrHypervGuestId = 0x4000'0000;
inline constexpr std::uint32_t kMsrHypervHypercall = 0x4000'0001;
inline constexpr std::uint32_t kMsrHypervProcessor = 0x4000'0002;

/// The guest's identity: an open source kernel (bit 63) of a kind (bits 62:56) that the list does
/// not name, and a version. Not 0, or the hypervisor refuses the hypercall page.
[[nodiscard]] constexpr std::uint64_t hyperv_guest_id(std::uint8_t version) {
  constexpr std::uint64_t kOpenSource = std::uint64_t{1} << 63;
  return kOpenSource | (std::uint64_t{version} << 16) | 1;
}

/// Puts the hypercall page at `page`, and keeps the register's reserved bits.
[[nodiscard]] constexpr std::uint64_t hyperv_hypercall_value(std::uint64_t previous,
                                                             PhysAddr page) {
  constexpr std::uint64_t kEnable = 1;
  constexpr std::uint64_t kReserved = 0xffe;
  return (previous & kReserved) | page | kEnable;
}

// Xen: entry n of the hypercall page, which Xen fills for a domain that names it in its notes.

inline constexpr std::size_t kXenHypercallBytes = 32;
inline constexpr std::size_t kXenExtendedMmu = 26;
inline constexpr std::uint64_t kXenThisDomain = 0x7ff0;

}  // namespace shootdown::x86
