// An include from each lower room into a higher one. None may compile with what the lower room has.

#include "core/shootdown.h"

#ifdef CORE_INCLUDES_HAL
#include "hal/host/tlb.h"
#endif

#ifdef HAL_INCLUDES_FUZZ
#include "fuzz/scenario/scenario.h"
#endif

#ifdef CORE_INCLUDES_TESTS
#include "tests/build/probe.h"
#endif
