// Changes of what boot fixes, each behind a macro of its own: none compiles.

#include "core/shootdown_all.h"
#include "tests/core/recording_hal.h"

namespace shootdown::test {

using H = RecordingHal<2>;

void change(System<H>& system);

void change(System<H>& system) {
  static_cast<void>(system.config().isolation.enabled);
#ifdef MUST_NOT_ASSIGN_TO_THE_CONFIGURATION
  system.config().isolation.enabled = true;
#endif
#ifdef MUST_NOT_ASSIGN_TO_THE_PLAN
  system.plan().concurrent = false;
#endif
#ifdef MUST_NOT_REPLACE_THE_CONFIGURATION
  system.config_ = Config{};
#endif
#ifdef MUST_NOT_REPLACE_THE_OPERATIONS
  system.ops_ = nullptr;
#endif
}

}  // namespace shootdown::test
