// What is between code that calls shootdown.h and the core on the modelled machine.
#pragma once

#include "core/config.h"
#include "kernel-glue/embed/shootdown.h"

namespace shootdown::model {

/// Called when code enters the library, before the core does anything; may be null.
inline void (*on_entry)() = nullptr;

}  // namespace shootdown::model

namespace shootdown::embed {

/// What the library makes of a configuration of C.
Config config_on_model(const sd_config& config);

}  // namespace shootdown::embed
