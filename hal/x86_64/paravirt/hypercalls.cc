#include "hal/x86_64/paravirt/hypercalls.h"

#include "hal/x86_64/instructions.h"
#include "hal/x86_64/platform.h"

namespace shootdown::x86 {

namespace internal {
constinit ParavirtState paravirt;
}  // namespace internal

namespace {

/// Executable memory that Hyper-V lays its page over and Xen fills; hypercall_page.S.
extern "C" std::uint8_t shootdown_hypercall_page[];

constexpr std::uint8_t kVersion = 1;

}  // namespace

void prepare_paravirt(const Identity& identity) {
  internal::paravirt.identity = identity;
  internal::paravirt.processors.fill(kNoProcessor);
  if (identity.backend != FlushBackend::hyperv) return;
  // The identity first: the hypervisor takes the page only from a guest that has identified itself.
  write_msr(kMsrHypervGuestId, hyperv_guest_id(kVersion));
  write_msr(kMsrHypervHypercall,
            hyperv_hypercall_value(read_msr(kMsrHypervHypercall),
                                   platform_physical_address(shootdown_hypercall_page)));
}

void enable_paravirt_on_this_cpu() {
  internal::ParavirtState& state = internal::paravirt;
  const CpuId cpu = this_cpu();
  switch (state.identity.backend) {
    case FlushBackend::kvm:
      state.steal_times[cpu].preempted.store(0, std::memory_order_relaxed);
      write_msr(kMsrKvmStealTime,
                steal_time_value(platform_physical_address(&state.steal_times[cpu])));
      break;
    case FlushBackend::hyperv:
      state.processors[cpu] = static_cast<std::uint32_t>(read_msr(kMsrHypervProcessor));
      break;
    case FlushBackend::native:
    case FlushBackend::xen:
    case FlushBackend::uv_bau:
      break;
  }
}

void disable_paravirt_on_this_cpu() {
  if (internal::paravirt.identity.backend == FlushBackend::kvm) write_msr(kMsrKvmStealTime, 0);
}

std::uint64_t hyperv_call(std::uint64_t control) {
  // Control in RCX, the input page in RDX, no output page. The hypercall is a VM exit, which is
  // behind all earlier stores; the clobber keeps the compiler from moving the page's words past it.
  const PhysAddr input = platform_physical_address(&internal::paravirt.inputs[this_cpu()]);
  std::uint64_t result;
  std::uint64_t code = control;
  std::uint64_t page = input;
  asm volatile(
      "xor %%r8d, %%r8d\n\t"
      "call shootdown_hypercall_page"
      : "=a"(result), "+c"(code), "+d"(page)
      :
      : "r8", "r9", "r10", "r11", "memory", "cc");
  return result;
}

int xen_operation(const XenOperation& operation) {
  const std::uint8_t* entry = shootdown_hypercall_page + (kXenExtendedMmu * kXenHypercallBytes);
  std::uint64_t operations = reinterpret_cast<std::uintptr_t>(&operation);
  std::uint64_t count = 1;
  std::uint64_t done = 0;
  std::int64_t result;
  register std::uint64_t domain asm("r10") = kXenThisDomain;
  asm volatile("call *%[entry]"
               : "=a"(result), "+D"(operations), "+S"(count), "+d"(done), "+r"(domain)
               : [entry] "r"(entry)
               : "r8", "r9", "r11", "rcx", "memory", "cc");
  return static_cast<int>(result);
}

}  // namespace shootdown::x86
