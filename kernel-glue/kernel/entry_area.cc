#include "kernel-glue/kernel/entry_area.h"

namespace shootdown::kernel {

SHOOTDOWN_ENTRY_DATA constinit std::array<EntryArea, x86::kMaxCpus> entry_areas{};

}  // namespace shootdown::kernel
