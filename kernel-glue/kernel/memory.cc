#include "kernel-glue/kernel/memory.h"

#include <array>
#include <atomic>

#include "kernel-glue/kernel/stop.h"

namespace shootdown::kernel {
namespace {

constexpr std::uint32_t kFrames = 1024;

struct alignas(kPageBytes) Frame {
  std::byte bytes[kPageBytes];
};

/// The frames of 4 KiB are part of the image.
constinit std::array<Frame, kFrames> pool{};

/// Those of 2 MiB lie behind it, where the emulated machine has memory up to 64 MiB.
constexpr std::uint32_t kLargeFrames = 8;
constexpr PhysAddr kLargeBegin = PhysAddr{32} << 20;

/// A stack of free numbers below `kCount`. Its head counts the changes in its upper half, so that
/// an exchange fails if the same number has been taken and given back meanwhile.
template <std::uint32_t kCount>
class FreeNumbers {
 public:
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};

  std::uint32_t take() {
    std::uint64_t head = head_.load(std::memory_order_acquire);
    while (number_in(head) != 0) {
      const std::uint32_t number = number_in(head) - 1;
      const std::uint64_t next = next_[number].load(std::memory_order_relaxed);
      if (head_.compare_exchange(head, successor(head, next), std::memory_order_acq_rel)) {
        return number;
      }
    }
    return never_used();
  }

  void give(std::uint32_t number) {
    std::uint64_t head = head_.load(std::memory_order_relaxed);
    do {
      next_[number].store(number_in(head), std::memory_order_relaxed);
      // Release: what was done with the frame comes before its next use.
    } while (!head_.compare_exchange(head, successor(head, number + 1), std::memory_order_acq_rel));
  }

 private:
  static constexpr std::uint32_t number_in(std::uint64_t head) {
    return static_cast<std::uint32_t>(head);
  }
  static constexpr std::uint64_t successor(std::uint64_t head, std::uint64_t number) {
    return ((head >> 32) + 1) << 32 | number;
  }

  std::uint32_t never_used() {
    std::uint32_t number = unused_.load(std::memory_order_relaxed);
    while (number < kCount) {
      if (unused_.compare_exchange(number, number + 1, std::memory_order_relaxed)) return number;
    }
    return kNone;
  }

  /// The number on top plus 1, or 0.
  x86::Atomic<std::uint64_t> head_{0};
  /// Numbers from here on were never taken.
  x86::Atomic<std::uint32_t> unused_{0};
  std::array<x86::Atomic<std::uint32_t>, kCount> next_{};
};

constinit FreeNumbers<kFrames> free_frames{};
constinit FreeNumbers<kLargeFrames> free_large_frames{};
constinit x86::Atomic<std::uint64_t> in_use{0};

constinit std::array<FrameState, kFrames> states{};
constinit std::array<FrameState, kLargeFrames> large_states{};
/// So many references that the last is never dropped.
constexpr std::uint32_t kNeverDropped = 1U << 30;
constinit FrameState state_of_others{.references = kNeverDropped};

std::uint32_t number_of(PhysAddr frame) {
  return static_cast<std::uint32_t>((frame - image_physical(pool.data())) / kPageBytes);
}

void zero(PhysAddr frame, std::size_t bytes) {
  auto* to = direct_map<std::uint64_t>(frame);
  std::size_t words = bytes / sizeof(std::uint64_t);
  asm volatile("rep stosq" : "+D"(to), "+c"(words) : "a"(std::uint64_t{0}) : "memory");
}

}  // namespace

PhysAddr try_allocate_frame() {
  const std::uint32_t number = free_frames.take();
  if (number == free_frames.kNone) return 0;
  const PhysAddr frame = image_physical(&pool[number]);
  zero(frame, kPageBytes);
  in_use.fetch_add(1, std::memory_order_relaxed);
  return frame;
}

PhysAddr allocate_frame() {
  const PhysAddr frame = try_allocate_frame();
  if (frame == 0) fatal("out of memory: all ", kFrames, " frames are in use");
  state_of(frame).references.store(kNeverDropped, std::memory_order_relaxed);
  return frame;
}

void free_frame(PhysAddr frame) {
  free_frames.give(number_of(frame));
  in_use.fetch_add(~std::uint64_t{0}, std::memory_order_relaxed);
}

PhysAddr try_allocate_large_frame() {
  const std::uint32_t number = free_large_frames.take();
  if (number == free_large_frames.kNone) return 0;
  const PhysAddr frame = kLargeBegin + number * kLargePageBytes;
  zero(frame, kLargePageBytes);
  in_use.fetch_add(1, std::memory_order_relaxed);
  return frame;
}

void free_large_frame(PhysAddr frame) {
  free_large_frames.give(static_cast<std::uint32_t>((frame - kLargeBegin) / kLargePageBytes));
  in_use.fetch_add(~std::uint64_t{0}, std::memory_order_relaxed);
}

bool is_large_frame(PhysAddr frame) {
  return frame >= kLargeBegin && frame < kLargeBegin + kLargeFrames * kLargePageBytes;
}

FrameState& state_of(PhysAddr frame) {
  if (is_large_frame(frame)) return large_states[(frame - kLargeBegin) / kLargePageBytes];
  const PhysAddr begin = image_physical(pool.data());
  if (frame >= begin && frame < begin + sizeof(pool)) return states[number_of(frame)];
  return state_of_others;
}

std::size_t frames_in_use() { return in_use.load(std::memory_order_relaxed); }

}  // namespace shootdown::kernel
