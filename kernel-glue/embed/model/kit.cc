// What the kit gives to code on the modelled machine: on_model.h.
#include <string>

#include "hal/host/hal.h"
#include "kernel-glue/embed/on_model.h"
#include "ports/runtime/memory.h"

using shootdown::host::FramePool;
using shootdown::host::HostHal;
using shootdown::model::current_memory;

namespace {

constexpr shootdown::host::ReportKind kCode{
    .name = "CODE", .promise = "the kernel's code finds nothing wrong with what it sees"};

}  // namespace

extern "C" {

std::uint64_t kit_allocate_frame() {
  current_memory->settle();
  const shootdown::host::ModelScope scope;
  return current_memory->frames().allocate();
}

void kit_free_frame(std::uint64_t frame) {
  current_memory->settle();
  const shootdown::host::ModelScope scope;
  current_memory->frames().release(frame);
}

void* kit_at(std::uint64_t physical) {
  current_memory->settle();
  const shootdown::host::ModelScope scope;
  shootdown::host::Machine& machine = current_memory->machine();
  const std::uint32_t frame = FramePool::frame_at(physical);
  if (physical >> 52 != 0 || frame == FramePool::kNoFrame) {
    current_memory->frames().on_use(FramePool::kNoFrame, "looks for a word");
    machine.stop_if_failed();
    return nullptr;
  }
  auto* bytes = reinterpret_cast<unsigned char*>(machine.frames().words(frame));
  return bytes + (physical % (std::uint64_t{1} << shootdown::kPageShift));
}

std::uint64_t kit_kernel_root() { return current_memory->frames().kernel_root(); }

void kit_pause() {
  current_memory->settle();
  HostHal::pause();
}

unsigned kit_this_cpu() { return HostHal::this_cpu(); }

std::uint64_t kit_irq_save() {
  current_memory->settle();
  const bool on = HostHal::interrupts_enabled();
  if (on) HostHal::disable_interrupts();
  return on ? 1 : 0;
}

void kit_irq_restore(std::uint64_t before) {
  current_memory->settle();
  if (before != 0) HostHal::enable_interrupts();
}

void kit_die(const char* what) {
  shootdown::host::Machine& machine = current_memory->machine();
  machine.report_failure(
      {.kind = &kCode,
       .title = "the kernel's code gives up",
       .detail = std::string("It says: ") + what + ".",
       .first = {},
       .second = {.step = machine.step(), .cpu = machine.running().id, .what = "calls kit_die"}});
  machine.abandon_run();
}

}  // extern "C"
