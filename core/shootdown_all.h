// The native flush core and every optional backend.
#pragma once

// clang-format off
#include "core/macros_begin.inc"
// clang-format on

#include "core/broadcast.h"        // IWYU pragma: export
#include "core/global_asids.h"     // IWYU pragma: export
#include "core/paravirt/hyperv.h"  // IWYU pragma: export
#include "core/paravirt/kvm.h"     // IWYU pragma: export
#include "core/paravirt/select.h"  // IWYU pragma: export
#include "core/paravirt/uv_bau.h"  // IWYU pragma: export
#include "core/paravirt/xen.h"     // IWYU pragma: export
#include "core/shootdown.h"        // IWYU pragma: export

// clang-format off
#include "core/macros_end.inc"
// clang-format on
