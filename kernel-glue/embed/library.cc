// libshootdown.a: the C interface over the kernel's hooks.
#include "kernel-glue/embed/hooks_hal.h"
// The functions of shootdown.h, over the HAL above.
#include "kernel-glue/embed/entry_points.h"
