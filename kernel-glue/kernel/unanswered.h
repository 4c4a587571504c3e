// CPUs that do not answer an SMP function call, and where that is reported.
#pragma once

#include <atomic>

#include "core/trace.h"
#include "hal/x86_64/atomic.h"

namespace shootdown::kernel {

/// A report ends the run, unless a test has put its own function here. Changed on CPU 0 while no
/// other CPU makes calls.
extern constinit x86::Atomic<void (*)(const Unanswered& report)> unanswered_hook;

}  // namespace shootdown::kernel
