// Faults of foreign code, and its loops that do nothing another CPU could notice: reports of the
// machine like any other, with a scenario and a story.
#pragma once

#include <cstdint>

#include "hal/host/machine.h"
#include "hal/host/report.h"
#include "ports/runtime/code.h"

namespace shootdown::port {

inline constexpr host::ReportKind kCrash{.name = "KERNEL",
                                         .promise = "the code neither faults nor loops for ever"};

/// From here on a fault in the code fails the machine's run, and so does a loop that takes seconds
/// of processor time without a visible operation. The program ends at once where nothing can go on,
/// and with its parent.
void catch_crashes(host::Machine& machine, const model::Code& code);
/// A run begins.
void note_run();
/// What a crash names that nothing can go on after.
void note_seed(std::uint64_t seed);
/// The user has asked the program to stop: SIGINT or SIGTERM. If it does not, it is ended.
[[nodiscard]] bool is_stopped();

}  // namespace shootdown::port
