// What a library between the core and a program sees of the core.
#pragma once

#include "core/mm.h"

namespace probe {

/// The value that the library was compiled with.
shootdown::Generation first_generation_of_library();

}  // namespace probe
