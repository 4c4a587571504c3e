// The functions of shootdown.h on the modelled machine.
#include "hal/host/hal.h"
#include "kernel-glue/embed/model/entry.h"

namespace shootdown::embed {

using EmbeddedHal = host::HostHal;

inline void entered() {
  if (model::on_entry != nullptr) model::on_entry();
}

}  // namespace shootdown::embed

// Over the HAL above.
#include "kernel-glue/embed/entry_points.h"

namespace shootdown::embed {

Config config_on_model(const sd_config& config) { return config_of(config); }

}  // namespace shootdown::embed
