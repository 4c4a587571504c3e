// The smallest port, which uses every entry point of the core over two HALs. matrix_test compiles
// and links it.
#include "tests/freestanding/hal.h"

// What a port can use of hal/x86_64 beside the HALs above.
#include "hal/x86_64/features.h"
#include "hal/x86_64/paravirt/identify.h"
#include "hal/x86_64/paravirt/registers.h"

namespace port {

constinit std::array<sd::x86::Atomic<std::uint8_t>, FullHal::kMaxCpus> FullHal::vcpus{};
constinit sd::HypervPage FullHal::input{};
constinit sd::FlushOps<FullHal> remote_ops{};

// The test looks for these two in .bss.
constinit sd::System<PlainHal> plain_system;
constinit sd::System<FullHal> full_system;
constinit sd::Mm<PlainHal> plain_mm;
constinit sd::Mm<FullHal> full_mm;

namespace {

/// The tokens, each to its end.
template <class H>
void use_flushes(sd::System<H>& system, sd::Mm<H>& mm) {
  static_cast<void>(sd::flush_tlb_mm_range(system, mm, {.start = 0x1000, .end = 0x3000}));
  static_cast<void>(sd::flush_tlb_mm_range_early(system, mm, {.start = 0x1000, .end = 0x3000}));
  static_cast<void>(
      sd::submit_flush_tlb_mm_range(system, mm, {.start = 0x1000, .end = 0x3000}).complete(system));
  auto pending =
      sd::submit_flush_tlb_mm_range_freed_tables(system, mm, {.start = 0x1000, .end = 0x3000});
  if (pending.is_done(system)) static_cast<void>(std::move(pending).complete(system));
  static_cast<void>(sd::flush_tlb_page(system, mm, 0x1000));
  static_cast<void>(sd::flush_tlb_mm(system, mm));
  static_cast<void>(sd::exclude_walkers(
      system, sd::flush_tlb_mm_range_freed_tables(system, mm, {.start = 0x1000, .end = 0x3000})));
  static_cast<void>(sd::flush_tlb_kernel_range(system, 0x1000, 0x3000));
  static_cast<void>(sd::exclude_walkers(system, sd::flush_tlb_all(system)));
  sd::flush_tlb_batched_pending(system, mm);
  sd::ReclaimBatch<H> batch;
  batch.add(system, mm);
  if (!batch.empty()) static_cast<void>(batch.flush(system));
  sd::wait_for_walkers(system);
}

template <class H>
void use_switches(sd::System<H>& system, sd::Mm<H>& mm) {
  sd::switch_mm(system, mm);
  sd::enter_lazy_tlb(system);
  {
    const sd::TemporaryMm<H> temporary(system, mm);
  }
  if (sd::user_access_ok(system, mm)) sd::leave_mm(system);
  sd::handle_call_function_interrupt(system);
  sd::flush_function(system, sd::FlushRequest<H>{});
  sd::change_cr4(system, 0, 0);
}

template <class H>
void use_entries(sd::System<H>& system) {
  sd::EntryBlock<H> block;
  sd::prepare_return_to_user(system, block);
  sd::load_user_root(block);
  sd::enter_from_user(block);
  sd::return_to_user(system, block);
  sd::leave_nmi(block, sd::enter_nmi(block));
}

template <class H>
void use(sd::System<H>& system, sd::Mm<H>& mm) {
  sd::initialize_system(system, sd::Config{}, 0x1000);
  sd::initialize_cpu(system);
  sd::initialize_mm(system, mm, 0x2000);
  use_switches(system, mm);
  use_flushes(system, mm);
  use_entries(system);
  static_cast<void>(sd::retire_mm(system, mm));
  const sd::Counters counters = sd::sum_counters(system);
  port_send_interrupt(nullptr, static_cast<unsigned>(counters.remote_flush_sent));
  sd::take_cpu_offline(system);
}

void use_backends() {
  const auto cpuid = [](std::uint32_t leaf) -> sd::x86::CpuidLeaf {
    const sd::x86::CpuidResult r = sd::x86::cpuid(leaf);
    return {.eax = r.eax, .ebx = r.ebx, .ecx = r.ecx, .edx = r.edx};
  };
  switch (sd::x86::identify(cpuid, {.cpus = 2}).backend) {
    case sd::x86::FlushBackend::native:
      return sd::select_backend(full_system, sd::kNativeOps<FullHal>);
    case sd::x86::FlushBackend::kvm:
      return sd::select_backend(full_system, sd::kKvmOps<FullHal>);
    case sd::x86::FlushBackend::hyperv:
      return sd::select_backend(full_system, sd::kHypervOps<FullHal>);
    case sd::x86::FlushBackend::xen:
      remote_ops = sd::remote_only(sd::kXenOps<FullHal>);
      sd::select_backend(full_system, remote_ops);
      return sd::select_backend(full_system, sd::kXenOps<FullHal>);
    case sd::x86::FlushBackend::uv_bau:
      sd::select_backend(full_system, sd::kUvBauOps<FullHal>);
      return sd::handle_bau_interrupt(full_system);
  }
}

}  // namespace

}  // namespace port

extern "C" void port_use() {
  port::use(port::plain_system, port::plain_mm);
  port::use_backends();
  port::use(port::full_system, port::full_mm);
}
