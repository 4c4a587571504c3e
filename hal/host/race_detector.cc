#include "hal/host/race_detector.h"

#ifdef SHOOTDOWN_RACE_DETECTOR

// Not in the public header of the sanitizer: accesses of the calling thread, here the fiber, are
// not recorded until the end. Synchronisation still is.
extern "C" void __tsan_ignore_thread_begin();
extern "C" void __tsan_ignore_thread_end();

namespace shootdown::host::internal {

namespace {
bool model_runs = false;
}

// All fibers share the flag, in one thread.
__attribute__((no_sanitize("thread"))) bool set_in_model(bool in_model) {
  const bool was = model_runs;
  if (was == in_model) return was;
  model_runs = in_model;
  if (in_model) {
    __tsan_ignore_thread_begin();
  } else {
    __tsan_ignore_thread_end();
  }
  return was;
}

}  // namespace shootdown::host::internal

#endif
