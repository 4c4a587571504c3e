// The memory manager as a whole. A kernel includes this, and provides a MemoryPlatform.
#pragma once

#include "kernel-glue/mm/copy.h"           // IWYU pragma: export
#include "kernel-glue/mm/flush.h"          // IWYU pragma: export
#include "kernel-glue/mm/flush_pending.h"  // IWYU pragma: export
#include "kernel-glue/mm/large.h"          // IWYU pragma: export
#include "kernel-glue/mm/lifetime.h"       // IWYU pragma: export
#include "kernel-glue/mm/lookup.h"         // IWYU pragma: export
#include "kernel-glue/mm/manager.h"        // IWYU pragma: export
#include "kernel-glue/mm/mapping.h"        // IWYU pragma: export
#include "kernel-glue/mm/move.h"           // IWYU pragma: export
#include "kernel-glue/mm/platform.h"       // IWYU pragma: export
#include "kernel-glue/mm/reclaimer.h"      // IWYU pragma: export
