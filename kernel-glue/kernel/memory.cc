#include "kernel-glue/kernel/memory.h"

#include <array>

#include "kernel-glue/kernel/stop.h"

namespace shootdown::kernel {
namespace {

constexpr std::size_t kFrames = 1024;

struct alignas(kPageBytes) Frame {
  std::byte bytes[kPageBytes];
};

/// All the memory there is to allocate, part of the image.
constinit std::array<Frame, kFrames> pool{};

/// Frames never used lie above `first_unused`; freed ones form a list through their first word.
constinit std::size_t first_unused = 0;
constinit PhysAddr free_list = 0;
constinit std::size_t in_use = 0;

PhysAddr take_frame() {
  if (free_list != 0) {
    const PhysAddr frame = free_list;
    free_list = *direct_map<PhysAddr>(frame);
    return frame;
  }
  if (first_unused == kFrames) fatal("out of memory: all ", kFrames, " frames are in use");
  return image_physical(&pool[first_unused++]);
}

}  // namespace

PhysAddr allocate_frame() {
  const PhysAddr frame = take_frame();
  __builtin_memset(direct_map<void>(frame), 0, kPageBytes);
  ++in_use;
  return frame;
}

void free_frame(PhysAddr frame) {
  *direct_map<PhysAddr>(frame) = free_list;
  free_list = frame;
  --in_use;
}

std::size_t frames_in_use() { return in_use; }

}  // namespace shootdown::kernel
