#include "hal/host/frames.h"

#include <cstring>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#endif
#endif
#ifndef ASAN_POISON_MEMORY_REGION
#define ASAN_POISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#endif

#include "hal/host/race_detector.h"

namespace shootdown::host {

namespace {
constexpr std::size_t kFrameBytes = FramePool::kWords * sizeof(std::uint64_t);
}

FramePool::FramePool() : memory_(std::make_unique<std::uint64_t[]>(kFrames * kWords)) {
  ASAN_POISON_MEMORY_REGION(memory_.get(), kFrames * kFrameBytes);
  for (std::size_t i = 0; i < kFrames; ++i) {
    free_[i] = static_cast<std::uint32_t>(kFrames - 1 - i);
  }
  free_count_ = kFrames;
}

FramePool::~FramePool() { ASAN_UNPOISON_MEMORY_REGION(memory_.get(), kFrames * kFrameBytes); }

void FramePool::reset() {
  for (std::uint32_t frame = 0; frame < kFrames; ++frame) {
    if (info_[frame].kind != FrameKind::free) {
      ASAN_POISON_MEMORY_REGION(words(frame), kFrameBytes);
    }
    info_[frame] = {};
    free_[frame] = static_cast<std::uint32_t>(kFrames - 1 - frame);
  }
  free_count_ = kFrames;
}

void FramePool::start_run() {
  for (FrameInfo& info : info_) info.changed_at = kBeforeRun;
}

std::uint32_t FramePool::allocate(FrameKind kind, std::uint16_t owner, std::uint64_t step,
                                  std::uint32_t cpu) {
  if (free_count_ == 0) return kNoFrame;
  const std::uint32_t frame = free_[--free_count_];
  info_[frame] = {.kind = kind,
                  .owner = owner,
                  .changed_at = step,
                  .changed_by = cpu,
                  .life = info_[frame].life + 1};
  std::uint64_t* content = words(frame);
  acquired(content);
  if (kind == FrameKind::table) {
    ASAN_UNPOISON_MEMORY_REGION(content, kFrameBytes);
    std::memset(content, 0, kFrameBytes);
  } else {
    // Simulated programs use only the first word of a data frame.
    ASAN_UNPOISON_MEMORY_REGION(content, sizeof(*content));
    *content = 0;
  }
  return frame;
}

void FramePool::release(std::uint32_t frame, std::uint64_t step, std::uint32_t cpu) {
  ASAN_POISON_MEMORY_REGION(words(frame), kFrameBytes);
  released(words(frame));
  info_[frame].kind = FrameKind::free;
  info_[frame].changed_at = step;
  info_[frame].changed_by = cpu;
  free_[free_count_++] = frame;
}

std::uint32_t FramePool::frame_of(const std::uint64_t* word) const {
  const std::uint64_t* base = memory_.get();
  if (word < base || word >= base + (kFrames * kWords)) return kNoFrame;
  return static_cast<std::uint32_t>(static_cast<std::size_t>(word - base) / kWords);
}

}  // namespace shootdown::host
