// Variables as large as each type of shootdown.h has to be, for sizes.py to read from the object.
#ifdef SD_ON_MODEL
#include "hal/host/hal.h"
namespace shootdown::embed {
using EmbeddedHal = host::HostHal;
}
#else
#include "kernel-glue/embed/hooks_hal.h"
#endif
#include "kernel-glue/embed/objects.h"

namespace embed = shootdown::embed;
using H = embed::EmbeddedHal;

extern "C" {
char sd_size_of_system[sizeof(embed::EmbeddedSystem<H>)];
char sd_size_of_mm[sizeof(embed::EmbeddedMm<H>)];
char sd_size_of_batch[sizeof(shootdown::ReclaimBatch<H>)];
char sd_size_of_pending[sizeof(embed::EmbeddedPending<H>)];
char sd_size_of_temporary[sizeof(embed::Place<shootdown::TemporaryMm<H>>)];
char sd_size_of_entry_block[sizeof(shootdown::EntryBlock<H>)];
}
