// Modelled physical memory: frames that know their owner and are poisoned when they are released.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "core/types.h"

namespace shootdown::host {

/// Page-table entry bits (SDM vol. 3, table 4-20).
inline constexpr std::uint64_t kPtePresent = 1;
inline constexpr std::uint64_t kPteWritable = 2;
inline constexpr std::uint64_t kPteUser = 4;
inline constexpr std::uint64_t kPteAccessed = 32;
inline constexpr std::uint64_t kPteDirty = 64;
inline constexpr std::uint64_t kPteLarge = 128;
inline constexpr std::uint64_t kPteGlobal = 256;
/// Bits 9 to 11 and 52 to 58, which hardware ignores.
inline constexpr std::uint64_t kPteSoftware = 0x07f0'0000'0000'0e00;
inline constexpr std::uint64_t kPteNoExecute = std::uint64_t{1} << 63;

enum class FrameKind : std::uint8_t { free, data, table };

/// Instead of a step: what a run finds there when it starts.
inline constexpr std::uint64_t kBeforeRun = ~std::uint64_t{0};

/// Owner and history of a frame, for walks and reports. `owner` is the user's own tag.
struct FrameInfo {
  FrameKind kind{FrameKind::free};
  std::uint16_t owner{0};
  std::uint64_t changed_at{kBeforeRun};  // step of the last allocation or release
  std::uint32_t changed_by{0};           // CPU that did it
  std::uint32_t life{0};                 // how often it has been allocated
};

/// A pool of 4 KiB frames. Released frames are handed out again last in, first out: reuse at once
/// is what a stale translation fears most.
class FramePool {
 public:
  static constexpr std::size_t kFrames = 192;
  static constexpr std::size_t kWords = 512;
  static constexpr std::uint32_t kNoFrame = ~std::uint32_t{0};

  FramePool();
  ~FramePool();
  FramePool(const FramePool&) = delete;
  FramePool& operator=(const FramePool&) = delete;

  /// Releases everything, without checks: a new run starts.
  void reset();

  /// The run starts, and counts its steps from 0: those of the frames' history are no steps of it.
  void start_run();

  /// A frame, or kNoFrame when memory is exhausted. A table's words are zero; a data frame's first
  /// word is. `step` and `cpu` name the caller in reports.
  std::uint32_t allocate(FrameKind kind, std::uint16_t owner, std::uint64_t step,
                         std::uint32_t cpu);

  /// Gives the frame back and poisons it. Precondition: it is allocated.
  void release(std::uint32_t frame, std::uint64_t step, std::uint32_t cpu);

  /// Software that allocates first and decides then makes the frame a table or a page. Its content
  /// stays. Precondition: it is allocated.
  void become(std::uint32_t frame, FrameKind kind, std::uint16_t owner) {
    info_[frame].kind = kind;
    info_[frame].owner = owner;
  }

  [[nodiscard]] const FrameInfo& info(std::uint32_t frame) const { return info_[frame]; }
  [[nodiscard]] std::uint64_t* words(std::uint32_t frame) {
    return memory_.get() + (frame * kWords);
  }

  /// Frames and physical addresses: frame f lies at (f + 1) * 4 KiB, so that address 0 is no frame.
  static PhysAddr address(std::uint32_t frame) { return (PhysAddr{frame} + 1) << kPageShift; }
  static std::uint32_t frame_at(PhysAddr address) {
    const PhysAddr number = (address & 0x000f'ffff'ffff'f000) >> kPageShift;
    return number == 0 || number > kFrames ? kNoFrame : static_cast<std::uint32_t>(number - 1);
  }
  /// The frame a word lies in, or kNoFrame: labels addresses in reports.
  [[nodiscard]] std::uint32_t frame_of(const std::uint64_t* word) const;

 private:
  std::unique_ptr<std::uint64_t[]> memory_;
  std::array<FrameInfo, kFrames> info_{};
  std::array<std::uint32_t, kFrames> free_{};
  std::size_t free_count_{0};
};

}  // namespace shootdown::host
