// The checkers of the core's state together.
#pragma once

#include "fuzz/oracles/core_state/asids.h"
#include "fuzz/oracles/core_state/bookkeeping.h"
#include "fuzz/oracles/core_state/core.h"
#include "fuzz/oracles/core_state/counters.h"
#include "fuzz/oracles/core_state/generations.h"
#include "fuzz/oracles/core_state/global_asids.h"
#include "fuzz/oracles/core_state/handovers.h"
#include "fuzz/oracles/core_state/masks.h"
#include "fuzz/oracles/core_state/membarrier.h"
#include "fuzz/oracles/core_state/needless.h"
#include "fuzz/oracles/core_state/requests.h"
#include "fuzz/oracles/core_state/temporary.h"

namespace shootdown::fuzz {

struct CoreState {
  CoreState(const Truth& truth, const OrderChecker& order) : core(truth), handovers(core, order) {}

  void start() {
    core.start();
    bookkeeping.start();
    requests.start();
    needless.start();
    generations.start();
    asids.start();
    global_asids.start();
    counters.start();
    if (core.machine().memory().reorders()) handovers.start();
  }

  Core core;
  MaskChecker masks{core};
  MembarrierChecker membarrier{core};
  BookkeepingChecker bookkeeping{core};
  RequestChecker requests{core};
  NeedlessChecker needless{core, requests};
  GenerationChecker generations{core, requests};
  AsidChecker asids{core, requests};
  GlobalAsidChecker global_asids{core, requests};
  CounterChecker counters{core};
  TemporaryChecker temporary{core};
  HandoverChecker handovers;
};

}  // namespace shootdown::fuzz
