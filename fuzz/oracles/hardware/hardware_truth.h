// The checkers of hardware truth together. They depend on the machine and on what a kernel tells
// (fuzz/events), and on the data of no core.
#pragma once

#include "fuzz/oracles/hardware/contents.h"
#include "fuzz/oracles/hardware/device.h"
#include "fuzz/oracles/hardware/flushes.h"
#include "fuzz/oracles/hardware/order.h"
#include "fuzz/oracles/hardware/promises.h"
#include "fuzz/oracles/hardware/range.h"
#include "fuzz/oracles/hardware/references.h"
#include "fuzz/oracles/hardware/releases.h"
#include "fuzz/oracles/hardware/roots.h"
#include "fuzz/oracles/hardware/skipped.h"
#include "fuzz/oracles/hardware/tables.h"
#include "fuzz/oracles/hardware/truth.h"
#include "fuzz/oracles/hardware/use.h"

namespace shootdown::fuzz {

struct HardwareTruth {
  explicit HardwareTruth(host::Machine& machine) : truth(machine) {}

  void start(const KernelView& kernel, unsigned mms) {
    truth.start(kernel, mms);
    tables.start();
    flushes.start();
    promises.start();
    contents.start();
    range.start();
    references.start();
    if (truth.machine().memory().reorders()) order.start();
  }

  Truth truth;
  RootChecker roots{truth};
  UseChecker use{truth};
  TableChecker tables{truth};
  FlushChecker flushes{truth};
  DeviceChecker device{truth};
  PromiseChecker promises{truth, device};
  ReleaseChecker releases{truth};
  ContentsChecker contents{truth};
  RangeChecker range{truth};
  ReferenceChecker references{truth};
  SkippedChecker skipped{truth};
  OrderChecker order{truth};
};

}  // namespace shootdown::fuzz
