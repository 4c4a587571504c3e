// The native flush core. A kernel includes this and instantiates it over its HAL; one whose machine
// has a backend that does better includes that backend's header, too, or shootdown_all.h.
#pragma once

// clang-format off
#include "core/macros_begin.inc"
// clang-format on

#include "core/bring_up.h"         // IWYU pragma: export
#include "core/broadcast_hooks.h"  // IWYU pragma: export
#include "core/capacities.h"       // IWYU pragma: export
#include "core/completion.h"       // IWYU pragma: export
#include "core/config.h"           // IWYU pragma: export
#include "core/counters.h"         // IWYU pragma: export
#include "core/cpu_mask.h"         // IWYU pragma: export
#include "core/flush.h"            // IWYU pragma: export
#include "core/flush_cost.h"       // IWYU pragma: export
#include "core/flush_dispatch.h"   // IWYU pragma: export
#include "core/flush_function.h"   // IWYU pragma: export
#include "core/flush_ops.h"        // IWYU pragma: export
#include "core/hal.h"              // IWYU pragma: export
#include "core/kernel_range.h"     // IWYU pragma: export
#include "core/local_flush.h"      // IWYU pragma: export
#include "core/mm.h"               // IWYU pragma: export
#include "core/reclaim_batch.h"    // IWYU pragma: export
#include "core/request.h"          // IWYU pragma: export
#include "core/smp_call.h"         // IWYU pragma: export
#include "core/submit.h"           // IWYU pragma: export
#include "core/switch_mm.h"        // IWYU pragma: export
#include "core/system.h"           // IWYU pragma: export
#include "core/target_filter.h"    // IWYU pragma: export
#include "core/temporary_mm.h"     // IWYU pragma: export
#include "core/trace.h"            // IWYU pragma: export
#include "core/types.h"            // IWYU pragma: export
#include "core/user_pcid.h"        // IWYU pragma: export
#include "core/walkers.h"          // IWYU pragma: export

// clang-format off
#include "core/macros_end.inc"
// clang-format on
