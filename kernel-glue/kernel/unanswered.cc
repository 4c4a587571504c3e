#include "kernel-glue/kernel/unanswered.h"

#include "hal/x86_64/platform.h"
#include "kernel-glue/kernel/console.h"
#include "kernel-glue/kernel/memory.h"
#include "kernel-glue/kernel/stop.h"

namespace shootdown::kernel {

constinit x86::Atomic<void (*)(const Unanswered& report)> unanswered_hook{nullptr};

}  // namespace shootdown::kernel

namespace shootdown::x86 {

void platform_report_unanswered(const Unanswered& report) {
  const auto hook = kernel::unanswered_hook.load(std::memory_order_acquire);
  if (hook != nullptr) return hook(report);
  kernel::fatal("CPU ", report.sender, " waits for CPU ", report.target, " since ",
                report.now - report.since, " ticks: ", report.subject.what, " of [",
                kernel::Hex{report.subject.start}, ", ", kernel::Hex{report.subject.end}, ")");
}

PhysAddr platform_physical_address(const void* object) { return kernel::image_physical(object); }

}  // namespace shootdown::x86
