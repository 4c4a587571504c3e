// A broadcast hub (UV BAU), as in SGI UV machines: one message reaches any set of CPUs, each of
// which flushes in an interrupt of its own; a CPU that the hub cannot reach is interrupted as
// usual.
//
// A handler drops from the loaded context, of any mm, what the message says, and leaves generations
// alone: a message has no room for one. So a CPU that has switched away is flushed once more when
// it switches back, and a lazy CPU stays lazy. What the message asks for is done with interrupts
// off, between two instructions of the CPU, so a switch is before it or behind it as a whole.
#pragma once

#include <concepts>
#include <cstdint>

#include "core/flush_dispatch.h"
#include "core/flush_ops.h"
#include "core/local_flush.h"
#include "core/system.h"
#include "core/target_filter.h"

namespace shootdown {

/// What the hub carries to each target.
struct BauMessage {
  VirtAddr address;  // kFlushAll: the whole loaded context
  CpuId sender;
};

/// `bau_send` hands a message over for the CPUs of the mask, at most one of a CPU at a time, and
/// returns those that it will not reach. Stores before it are visible to the CPU that receives the
/// message. `bau_outstanding`: some target has not acknowledged this CPU's last message; acquire.
/// `bau_receive` takes the next message for this CPU; context: the hub's interrupt.
/// `bau_acknowledge` tells its sender; release. `bau_open` makes this CPU reachable, `bau_close`
/// unreachable: what the hub has taken before stays to be received.
template <class H>
concept HalUvBau = HalParavirt<H> && requires(BauMessage& message, const BauMessage& constant,
                                              CpuMask<H::kMaxCpus> targets) {
  { H::bau_send(constant, targets) } -> std::same_as<CpuMask<H::kMaxCpus>>;
  { H::bau_outstanding() } -> std::same_as<bool>;
  { H::bau_receive(message) } -> std::same_as<bool>;
  { H::bau_acknowledge(constant) };
  { H::bau_open() };
  { H::bau_close() };
};

/// The work of the hub's interrupt. Context: its handler, interrupts off.
template <HalUvBau H>
void handle_bau_interrupt(System<H>& system) {
  require<H>(!H::interrupts_enabled(), Rule::r12,
             "the hub's messages are read with interrupts off");
  BauMessage message{};
  while (H::bau_receive(message)) {
    ++system.self().own.counters.remote_flush_received;
    if (!system.self().own.loaded_mm.owner_load()->is_kernel) {
      if (message.address == kFlushAll) {
        flush_loaded_context(system);
      } else {
        system.ops()->flush_one_user(system, message.address);
      }
    }
    // M8: after the flush, against the sender's wait. Otherwise it frees what is still in use.
    H::bau_acknowledge(message);
  }
}

/// A CPU that comes up becomes reachable; one that goes becomes unreachable first, then answers
/// what the hub has taken before, or its sender waits for ever.
template <HalUvBau H>
struct BackendHotplug<H> {
  static constexpr bool kAttends = true;
  static void cpu_online() { H::bau_open(); }
  static void cpu_offline(System<H>& system) {
    H::bau_close();
    handle_bau_interrupt(system);
  }
};

namespace internal {

/// Sends, runs `local` with interrupts off meanwhile, waits, and interrupts whom the hub has left
/// out. `others` does not contain this CPU.
template <HalUvBau H, class Local>
std::uint64_t bau_flush(System<H>& system, const CpuMask<H::kMaxCpus>& others,
                        FlushRequest<H>& request, Local&& local) {
  const std::uint64_t start = H::ticks();
  CpuMask<H::kMaxCpus> wanted = filter_targets(system, others, request);
  wanted &= system.calls.online();
  CpuMask<H::kMaxCpus> leftover = wanted;
  bool sent = false;
  if (!request.needs_interrupts() && !wanted.empty()) {
    const bool one_page = request.names_pages() && request.strides() == 1;
    const BauMessage message{.address = one_page ? request.start : kFlushAll,
                             .sender = request.initiator};
    ++system.self().own.counters.remote_hypercalls;
    leftover = H::bau_send(message, wanted);
    sent = leftover != wanted;
  }
  local();
  if (sent) {
    // R12: with interrupts on, so that this CPU answers the messages of others meanwhile.
    while (H::bau_outstanding()) H::pause();
  }
  Counters& counters = system.self().own.counters;
  if (leftover.empty()) {
    trace_send(system.self(), request);
    return count_call(counters, {.ticks = H::ticks() - start});
  }
  ++counters.native_fallbacks;
  return native_flush_others(system, leftover, request);
}

template <HalUvBau H>
std::uint64_t bau_flush_multi(System<H>& system, const CpuMask<H::kMaxCpus>& targets,
                              FlushRequest<H>& request) {
  CpuMask<H::kMaxCpus> others = targets;
  others.clear(request.initiator);
  return bau_flush(system, others, request, [&] {
    if (targets.test(request.initiator)) flush_locally(system, system.self(), request);
  });
}

/// This CPU's own part has been done before, with interrupts off.
template <HalUvBau H>
std::uint64_t bau_flush_others(System<H>& system, const CpuMask<H::kMaxCpus>& targets,
                               FlushRequest<H>& request) {
  CpuMask<H::kMaxCpus> others = targets;
  others.clear(request.initiator);
  return bau_flush(system, others, request, [] {});
}

}  // namespace internal

/// Tables go at once: the hub's interrupt waits for walkers as any other does, and so does the
/// sender for the answer.
template <HalUvBau H>
static constexpr FlushOps<H> kUvBauOps{.name = "uv_bau",
                                       .flush_user = internal::native_flush_user<H>,
                                       .flush_kernel = internal::native_flush_kernel<H>,
                                       .flush_one_user = internal::native_flush_one_user<H>,
                                       .flush_multi = internal::bau_flush_multi<H>,
                                       .flush_others = internal::bau_flush_others<H>,
                                       .remove_table = TableRemoval::at_once};

}  // namespace shootdown
