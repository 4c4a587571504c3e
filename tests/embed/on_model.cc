// The functions of shootdown.h on the modelled machine.
#include "hal/host/hal.h"

namespace shootdown::embed {

using EmbeddedHal = host::HostHal;

}  // namespace shootdown::embed

// Over the HAL above.
#include "kernel-glue/embed/entry_points.h"

namespace shootdown::embed {

// For the test of what a configuration of C becomes.
Config config_in_test(const sd_config& config) { return config_of(config); }

}  // namespace shootdown::embed
