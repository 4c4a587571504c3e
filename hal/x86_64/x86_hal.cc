#include "hal/x86_64/x86_hal.h"

namespace shootdown::x86 {

constinit StaticKey concurrent_flush_key;
constinit StaticKey native_flush_key;

}  // namespace shootdown::x86
