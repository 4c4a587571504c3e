// Physical memory: page frames, and where the kernel sees them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/types.h"
#include "kernel-glue/kernel/layout.h"

namespace shootdown::kernel {

inline constexpr std::size_t kPageBytes = std::size_t{1} << kPageShift;

/// The kernel's view of a physical address below 4 GiB.
template <class T>
[[nodiscard]] T* direct_map(PhysAddr address) {
  return reinterpret_cast<T*>(address + SHOOTDOWN_DIRECT_MAP_BASE);
}

/// The physical address of something in the kernel image.
[[nodiscard]] inline PhysAddr image_physical(const void* object) {
  return reinterpret_cast<PhysAddr>(object) - SHOOTDOWN_KERNEL_BASE;
}

/// A zeroed frame; ends with a fatal error when there is none. Context: CPU 0, as all allocation.
[[nodiscard]] PhysAddr allocate_frame();
void free_frame(PhysAddr frame);

/// Frames that are allocated now. A test that frees what it took leaves it unchanged.
[[nodiscard]] std::size_t frames_in_use();

}  // namespace shootdown::kernel
