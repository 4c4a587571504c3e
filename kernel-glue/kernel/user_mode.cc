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
  if (x86::read_cr3() != cr3_value(tlb, *own.loaded_mm.owner_load(), own.loaded_asid)) {
    fatal("CPU ", x86::this_cpu(), " entered the kernel on another root: cr3 ",
          Hex{x86::read_cr3()});
  }
}

void serve(ExceptionFrame& frame, VirtAddr fault_address) {
  const UserServices& services = *stays[x86::this_cpu()].services;
  if (frame.vector == SHOOTDOWN_SYSTEM_CALL_VECTOR) {
    if (frame.rax == SHOOTDOWN_CALL_EXIT) end_stay({.value = frame.rdi});
    if (services.call == nullptr) fatal("system call ", frame.rax, ", which no service answers");
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

/// The way to user mode under page-table isolation, on the kernel's stack and root;
/// interrupt_entry.S. Context: interrupts off until user mode runs.
extern "C" void prepare_user_mode() { prepare_return_to_user(tlb, entry_area().block); }

// The steps of interrupt_entry.S on a root that may be the user's. They are part of the entry code,
// and so is everything they call: a user root maps no other code, no data but .entry.data, and no
// stack but those of the area.
#define SHOOTDOWN_ENTRY_CODE [[gnu::section(".entry.text"), gnu::flatten]]

/// The last step to user mode. Context: as above, on the entry stack.
extern "C" SHOOTDOWN_ENTRY_CODE void leave_for_user_mode() { load_user_root(entry_area().block); }

/// The first step of an entry from user mode. Context: interrupts off, on the entry stack.
extern "C" SHOOTDOWN_ENTRY_CODE void enter_from_user_mode() { enter_from_user(entry_area().block); }

/// The first and the last step of an NMI, whose GS base is not known; the first one is a double
/// fault's, too. Returns what CR3 held, and gets it back.
extern "C" SHOOTDOWN_ENTRY_CODE std::uint64_t enter_from_anywhere(const EntryArea* area) {
  return enter_nmi(area->block);
}
extern "C" SHOOTDOWN_ENTRY_CODE void leave_for_anywhere(const EntryArea* area, std::uint64_t held) {
  leave_nmi(area->block, held);
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
