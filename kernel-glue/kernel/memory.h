// Physical memory: page frames, and where the kernel sees them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/types.h"
#include "hal/x86_64/atomic.h"
#include "kernel-glue/kernel/layout.h"

namespace shootdown::kernel {

inline constexpr std::size_t kPageBytes = std::size_t{1} << kPageShift;
inline constexpr std::size_t kLargePageBytes = std::size_t{1} << kLargePageShift;

/// The kernel's view of a physical address below 4 GiB.
template <class T>
[[nodiscard]] T* direct_map(PhysAddr address) {
  return reinterpret_cast<T*>(address + SHOOTDOWN_DIRECT_MAP_BASE);
}

/// The physical address of something in the kernel image.
[[nodiscard]] inline PhysAddr image_physical(const void* object) {
  return reinterpret_cast<PhysAddr>(object) - SHOOTDOWN_KERNEL_BASE;
}

/// A zeroed frame of 4 KiB, or 0 if there is none. Context: any but NMIs.
[[nodiscard]] PhysAddr try_allocate_frame();
/// The same, for good until `free_frame`: no address space that maps it releases it. Ends with a
/// fatal error when there is none.
[[nodiscard]] PhysAddr allocate_frame();
/// Context: any but NMIs.
void free_frame(PhysAddr frame);

/// The same for the few aligned frames of 2 MiB.
[[nodiscard]] PhysAddr try_allocate_large_frame();
void free_large_frame(PhysAddr frame);

/// What the kernel notes about a frame; it outlives the frame's use.
struct FrameState {
  /// Of a page table.
  x86::Atomic<std::uint32_t> lock{0};
  /// Of a page: mappings and other users. All parts of a large frame share one.
  x86::Atomic<std::uint32_t> references{0};
};

/// Frames that no allocation made, such as those of the kernel's image, share one.
[[nodiscard]] FrameState& state_of(PhysAddr frame);
[[nodiscard]] bool is_large_frame(PhysAddr frame);

/// Frames that are allocated now. A test that frees what it took leaves it unchanged.
[[nodiscard]] std::size_t frames_in_use();

}  // namespace shootdown::kernel
