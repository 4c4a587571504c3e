// What the shim asks of the machine (shim/shim.h). The kernel's code finds the functions by their
// names, when it is loaded.
#include <string>

#include "hal/host/hal.h"
#include "hal/host/translation.h"
#include "ports/runtime/memory.h"

using shootdown::host::FramePool;
using shootdown::host::HostHal;
using shootdown::model::current_memory;

namespace {

constexpr shootdown::host::ReportKind kKernelCheck{
    .name = "KERNEL", .promise = "the kernel's own checks find nothing wrong"};

/// An instruction of the kernel's code at the caller's address.
template <class Execute>
void executed(const void* pc, Execute&& execute) {
  current_memory->settle();
  execute();
  if (current_memory->machine().recorder().has_timeline()) current_memory->mark(pc);
}

}  // namespace

// NOLINTBEGIN(readability-identifier-naming): names of C

extern "C" {

unsigned shim_this_cpu() { return HostHal::this_cpu(); }

void shim_pause() {
  executed(__builtin_return_address(0), [] { HostHal::pause(); });
}

unsigned long shim_irq_flags() { return HostHal::interrupts_enabled() ? 1 : 0; }

void shim_irq_set(unsigned long on) {
  executed(__builtin_return_address(0), [&] {
    if (on != 0) HostHal::enable_interrupts();
    if (on == 0) HostHal::disable_interrupts();
  });
}

void shim_write_cr3(unsigned long value) {
  executed(__builtin_return_address(0), [&] { HostHal::write_cr3(value); });
}

unsigned long shim_read_cr3() { return HostHal::read_cr3(); }

void shim_write_cr4(unsigned long value) {
  executed(__builtin_return_address(0), [&] { HostHal::write_cr4(value); });
}

unsigned long shim_read_cr4() { return HostHal::read_cr4(); }

void shim_invlpg(unsigned long address) {
  executed(__builtin_return_address(0), [&] { HostHal::invlpg(address); });
}

__attribute__((used)) void shim_invlpg_at(unsigned long address, const void* pc) {
  executed(pc, [&] { HostHal::invlpg(address); });
}

void shim_invpcid(unsigned long type, unsigned long pcid, unsigned long address) {
  using shootdown::InvpcidType;
  static constexpr InvpcidType kTypes[] = {InvpcidType::address, InvpcidType::context,
                                           InvpcidType::everything, InvpcidType::all_contexts};
  executed(__builtin_return_address(0), [&] { HostHal::invpcid(kTypes[type], pcid, address); });
}

/// MFENCE and LFENCE, and the command of the x2APIC.
void shim_send_ipi(unsigned long cpus) {
  const void* const pc = __builtin_return_address(0);
  shootdown::host::HostCpuMask targets;
  for (unsigned cpu = 0; cpu < 64; ++cpu) {
    if ((cpus >> cpu & 1) != 0) targets.set(cpu);
  }
  executed(pc, [] { HostHal::order_stores_before_ipi(); });
  executed(pc, [&] { HostHal::send_call_function_ipi(targets); });
}

int shim_in_interrupt() {
  const shootdown::host::HostCpu& cpu = current_memory->machine().running();
  return cpu.in_nmi ? 2 : cpu.in_interrupt ? 1 : 0;
}

unsigned long shim_add(void* word, unsigned bytes, unsigned long value) {
  const void* const pc = __builtin_return_address(0);
  const auto add = [&]<class T>(T* at) -> unsigned long {
    const T old =
        current_memory->modify_unlocked(at, [&](T now) { return static_cast<T>(now + value); }, pc);
    return static_cast<T>(old + value);
  };
  if (bytes == 2) return add(static_cast<std::uint16_t*>(word));
  if (bytes == 4) return add(static_cast<std::uint32_t*>(word));
  return add(static_cast<std::uint64_t*>(word));
}

unsigned long shim_frame() {
  current_memory->settle();
  return current_memory->frames().allocate();
}

void* shim_at(unsigned long physical) {
  current_memory->settle();
  shootdown::host::Machine& machine = current_memory->machine();
  const std::uint32_t frame = FramePool::frame_at(physical);
  if (frame == FramePool::kNoFrame) {
    current_memory->frames().on_use(frame, "looks for a word");
    machine.stop_if_failed();
    return nullptr;
  }
  return machine.frames().words(frame);
}

void shim_die(const char* what, const char* file, int line) {
  shootdown::host::Machine& machine = current_memory->machine();
  current_memory->settle();
  const std::string_view path = file;
  const std::string place =
      std::string(path.substr(path.rfind('/') + 1)) + ":" + std::to_string(line);
  machine.report_failure({.kind = &kKernelCheck,
                          .title = std::string("a check of the kernel fails: ") + what,
                          .detail = "It is in " + place + ".",
                          .first = {},
                          .second = {.step = machine.step(),
                                     .cpu = machine.running().id,
                                     .what = "runs into it at " + place}});
  machine.abandon_run();
}

/// In the place of an INVLPG in the code's own assembler, which pushes the address. All registers
/// stay as they are; the code uses those of the vector unit for nothing.
__attribute__((naked)) void shim_invlpg_on_stack() {
  __asm__(
      "pushfq\n pushq %rax\n pushq %rcx\n pushq %rdx\n pushq %rsi\n pushq %rdi\n"
      "pushq %r8\n pushq %r9\n pushq %r10\n pushq %r11\n pushq %rbp\n"
      "movq %rsp, %rbp\n"
      "movq 96(%rbp), %rdi\n"
      "movq 88(%rbp), %rsi\n"
      "andq $-16, %rsp\n"
      "call shim_invlpg_at\n"
      "movq %rbp, %rsp\n"
      "popq %rbp\n popq %r11\n popq %r10\n popq %r9\n popq %r8\n"
      "popq %rdi\n popq %rsi\n popq %rdx\n popq %rcx\n popq %rax\n popfq\n"
      "ret $8\n");
}

}  // extern "C"

// NOLINTEND(readability-identifier-naming)
