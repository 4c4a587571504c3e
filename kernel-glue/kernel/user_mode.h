// Ring 3: going there, coming back, and what happens in between.
#pragma once

#include <cstdint>

#include "core/types.h"

namespace shootdown::kernel {

/// The functions that answer the system calls and page faults of one stay in user mode. Both run on
/// the CPU of the stay as thread code: interrupts on, not in an interrupt.
struct UserServices {
  void* self{nullptr};
  /// The answer to a system call other than `exit`. Null: every number is unknown.
  std::uint64_t (*call)(void* self, std::uint64_t number, std::uint64_t a,
                        std::uint64_t b){nullptr};
  /// True if the access may be tried again. Null, or false: the stay ends.
  bool (*fault)(void* self, VirtAddr address, std::uint64_t error_code){nullptr};
};

/// How a stay in user mode ended.
struct UserExit {
  /// By an exception instead of `exit`.
  bool faulted{false};
  /// The argument of `exit`, or the address of a page fault.
  std::uint64_t value{0};
  std::uint64_t vector{0};
  std::uint64_t error_code{0};
};

/// Where a stay begins: addresses of the loaded mm, and two arguments.
struct UserStart {
  VirtAddr entry;
  VirtAddr stack;
  std::uint64_t argument0;
  std::uint64_t argument1;
};

/// Bits of a page fault's error code (SDM vol. 3, 4.7).
inline constexpr std::uint64_t kFaultPresent = 1U << 0;
inline constexpr std::uint64_t kFaultWrite = 1U << 1;
inline constexpr std::uint64_t kFaultUser = 1U << 2;

/// Runs user code until it exits or faults for good. Context: a thread with interrupts on, a user
/// mm loaded and not lazy; one stay at a time on a CPU.
[[nodiscard]] UserExit run_user(const UserStart& start, const UserServices& services = {});

}  // namespace shootdown::kernel
