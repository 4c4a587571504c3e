// The operations that the ledger counts: each an entry point of the core in one situation.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "core/types.h"
#include "tests/ledger/machine.h"

namespace shootdown::ledger {

/// How flushes go.
enum class Mode : std::uint8_t {
  concurrent,  // by interrupts, the local part meanwhile
  serial,      // by interrupts, the local part first
  early,       // by interrupts that are answered before the flush, where nothing is released
  kept,        // by interrupts, with lazily kept masks
  invlpgb,     // by broadcast
};
inline constexpr const char* kModeNames[] = {"concurrent", "serial", "early", "kept", "invlpgb"};

struct Configuration {
  Mode mode;
  bool isolation;
  CpuId cpus;
};

/// The names of the entry points, in the ledger's order.
[[nodiscard]] std::span<const char* const> entry_points();
[[nodiscard]] bool is_in_ledger(const char* entry_point, const Configuration& configuration);

/// Runs the operation on CPU 0, some times without and then once with counting, while the other
/// CPUs have the same mm loaded if nothing else is said. Empty, or what went wrong.
std::string count_operation(const char* entry_point, const Configuration& configuration,
                            Schedule schedule);

}  // namespace shootdown::ledger
