// What a range flush costs.
#pragma once

#include "kernel-glue/kernel/ktap.h"

namespace shootdown::kernel {

/// Prints ticks per `flush_tlb_mm_range` with every other CPU spinning in the address space.
void run_benchmark(Report& report);

}  // namespace shootdown::kernel
