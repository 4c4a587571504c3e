#include "hal/host/frames.h"

#include <cstring>

// The header's own macros do nothing in a file that is compiled without ASan.
#ifdef SHOOTDOWN_LINKED_WITH_ASAN
#include <sanitizer/asan_interface.h>
#define POISON __asan_poison_memory_region
#define UNPOISON __asan_unpoison_memory_region
#else
#define POISON(address, bytes) ((void)(address), (void)(bytes))
#define UNPOISON(address, bytes) ((void)(address), (void)(bytes))
#endif

#include "hal/host/race_detector.h"

namespace shootdown::host {

namespace {
constexpr std::size_t kFrameBytes = FramePool::kWords * sizeof(std::uint64_t);
}

FramePool::FramePool() : memory_(std::make_unique<std::uint64_t[]>(kFrames * kWords)) {
  POISON(memory_.get(), kFrames * kFrameBytes);
  for (std::size_t i = 0; i < kFrames; ++i) {
    free_[i] = static_cast<std::uint32_t>(kFrames - 1 - i);
  }
  free_count_ = kFrames;
}

FramePool::~FramePool() { UNPOISON(memory_.get(), kFrames * kFrameBytes); }

void FramePool::reset() {
  for (std::uint32_t frame = 0; frame < kFrames; ++frame) {
    if (info_[frame].kind != FrameKind::free) {
      POISON(words(frame), kFrameBytes);
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
    UNPOISON(content, kFrameBytes);
    std::memset(content, 0, kFrameBytes);
  } else {
    // Simulated programs use only the first word of a data frame.
    UNPOISON(content, sizeof(*content));
    *content = 0;
  }
  return frame;
}

void FramePool::release(std::uint32_t frame, std::uint64_t step, std::uint32_t cpu) {
  POISON(words(frame), kFrameBytes);
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
