#include "kernel-glue/kernel/user_mode.h"

#include <array>

#include "kernel-glue/kernel/entry_area.h"
#include "kernel-glue/kernel/interrupts.h"
#include "kernel-glue/kernel/stop.h"
#include "kernel-glue/kernel/system_call.h"
#include "kernel-glue/kernel/tlb.h"

namespace shootdown::kernel {
namespace {

/// The stay in user mode of each CPU; written by its CPU.
struct alignas(kCacheLine) Stay {
  const UserServices* services{nullptr};
  UserExit exit{};
};

constinit std::array<Stay, x86::kMaxCpus> stays{};

// interrupt_entry.S.
extern "C" void go_to_user_mode(const UserStart* start);
extern "C" [[noreturn]] void end_user_mode();

[[noreturn]] void end_stay(const UserExit& exit) {
  stays[x86::this_cpu()].exit = exit;
  end_user_mode();
}

/// The root that the entry code has loaded is the one that the core wants in the kernel.
void check_root() {
  const auto& own = tlb.self().own;
  if (x86::read_cr3() != cr3_value(tlb, *own.loaded_mm.owner_load(), own.loaded_slot)) {
    fatal("CPU ", x86::this_cpu(), " entered the kernel on another root: cr3 ",
          Hex{x86::read_cr3()});
  }
}

void serve(ExceptionFrame& frame, VirtAddr fault_address) {
  const UserServices& services = *stays[x86::this_cpu()].services;
  if (frame.vector == SHOOTDOWN_SYSTEM_CALL_VECTOR) {
    if (frame.rax == SHOOTDOWN_CALL_EXIT) end_stay({.value = frame.rdi});
    if (services.call == nullptr) fatal("system call ", frame.rax, ", which nobody answers");
    frame.rax = services.call(services.self, frame.rax, frame.rdi, frame.rsi);
    return;
  }
  const bool page_fault = frame.vector == kPageFault;
  if (page_fault && services.fault != nullptr &&
      services.fault(services.self, fault_address, frame.error_code)) {
    return;
  }
  end_stay({.faulted = true,
            .value = page_fault ? fault_address : frame.rip,
            .vector = frame.vector,
            .error_code = frame.error_code});
}

}  // namespace

extern "C" void handle_user_exception(ExceptionFrame* frame) {
  if (frame->vector == SHOOTDOWN_WATCHDOG_VECTOR) report_exception(*frame);
  const VirtAddr fault_address = x86::read_cr2();
  check_root();
  x86::enable_interrupts();
  serve(*frame, fault_address);
  x86::disable_interrupts();
}

/// The last step to user mode under page-table isolation; interrupt_entry.S. It ends on the user
/// root, where there is no other kernel code than the entry's: everything it calls is made part of
/// it. Context: interrupts off, on a stack that the user root maps.
extern "C" [[gnu::section(".entry.text"), gnu::flatten]] void leave_for_user() {
  entry_area().kernel_cr3 = entry_cr3(tlb);
  return_to_user(tlb);
}

/// Back to the user root under code of the kernel that an NMI has interrupted on it: on its way in
/// or out. Nothing was flushed meanwhile, because interrupts were off; the entries are kept.
extern "C" [[gnu::section(".entry.text"), gnu::flatten]] void resume_root(std::uint64_t cr3) {
  x86::write_cr3(tlb.config.pcid ? cr3 | kCr3KeepEntries : cr3);
}

UserExit run_user(const UserStart& start, const UserServices& services) {
  Stay& stay = stays[x86::this_cpu()];
  if (stay.services != nullptr) fatal("a stay in user mode inside another one");
  if (tlb.self().own.loaded_mm.owner_load()->is_kernel) fatal("no user space is loaded");
  stay = {.services = &services};
  go_to_user_mode(&start);
  const UserExit exit = stay.exit;
  stay = {};
  return exit;
}

}  // namespace shootdown::kernel
