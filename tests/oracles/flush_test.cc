// Each oracle about flushes, handlers, calls and waiting is seen to fire, by its title.
#include <gtest/gtest.h>

#include "tests/oracles/trial.h"

namespace shootdown::fuzz {
namespace {

Script flush_of_two(std::string_view change = "protect mm=0 page=1 count=2") {
  return {{await(1), op(change)}, {op("read page=1"), go(1)}};
}

// ---- O10, O11

TEST(O10, FiresWhenAPartialFlushSkipsAGeneration) {
  Trial trial;
  // CPU 1 has missed generation 2, and takes the flush of generation 3 for all that it missed.
  trial.before(TraceKind::flush_begin, 0, [&] { trial.slot_of(0, 0).generation = 2; });
  trial.after(TraceKind::handler_begin, 1, [&] { trial.slot_of(1, 0).generation = 2; });
  trial.expect("O10 a partial flush skips a generation",
               {{await(1), wrong([&] { trial.mm(0).tlb_gen.poke(2); }), op("protect mm=0 page=1")},
                {op("read page=1"), go(1)}});
}

TEST(O11, FiresWhenTheRecordedGenerationWasReadAfterTheFlush) {
  Trial trial;
  trial.distort = [&](CpuId cpu, TraceEvent& event) {
    if (event.kind != TraceKind::handler_end || cpu != 1) return;
    // Another flush begins between the invalidation and the second look.
    trial.mm(0).tlb_gen.poke(trial.mm(0).tlb_gen.peek() + 1);
    event.value2 = trial.mm(0).tlb_gen.peek();
  };
  trial.expect("O11 the recorded generation was read after the flush",
               flush_of_two("flush_mm mm=0"));
}

// ---- O15

TEST(O15, FiresWhenAFlushReturnsBeforeEveryCallHasRun) {
  Trial trial;
  trial.after(TraceKind::call_queued, 0, [&] { trial.unlock_record(0, 1); });
  trial.expect("O15 a flush returns before every call has run", flush_of_two());
}

TEST(O15, FiresWhenACallIsQueuedTwice) {
  Trial trial;
  trial.after(TraceKind::call_queued, 0, [&] {
    trial.oracles.on_trace(0, {.kind = TraceKind::call_queued, .value = 1, .value2 = 0});
  });
  trial.expect("O15 a call is queued twice on one target", flush_of_two());
}

TEST(O15, FiresWhenACallRunsTwice) {
  Trial trial;
  trial.after(TraceKind::call_run, 1,
              [&] { trial.oracles.on_trace(1, {.kind = TraceKind::call_run, .value = 0}); });
  trial.expect("O15 a call runs without being queued", flush_of_two());
}

TEST(O15, FiresWhenACallRunsWithInterruptsOn) {
  Trial trial;
  trial.before(TraceKind::call_run, 1, [&] { trial.machine.cpu(1).interrupts_enabled = true; });
  trial.expect("O15 a call runs with interrupts on", flush_of_two());
}

TEST(O15, FiresWhenTheFlushFunctionRunsWithInterruptsOn) {
  for (CpuId cpu : {0U, 1U}) {
    Trial trial;
    trial.before(TraceKind::handler_begin, cpu,
                 [&] { trial.machine.cpu(cpu).interrupts_enabled = true; });
    trial.expect("O15 the flush function runs with interrupts on", flush_of_two());
  }
}

TEST(O11, ComesBeforeO10WhereBothHold) {
  Trial trial;
  trial.distort = [&](CpuId cpu, TraceEvent& event) {
    if (event.kind != TraceKind::handler_end || cpu != 1) return;
    trial.mm(0).tlb_gen.poke(trial.mm(0).tlb_gen.peek() + 1);
    event.value2 = trial.mm(0).tlb_gen.peek();
  };
  trial.expect("O11 the recorded generation was read after the flush", flush_of_two());
}

TEST(O15, FiresWhenTheLocalPartRunsTwice) {
  Trial trial;
  unsigned runs = 0;
  // The request is also queued for the initiator, as a predicate that forgets "self" would do.
  trial.after(TraceKind::handler_end, 0, [&] {
    if (++runs != 1) return;
    trial.oracles.on_trace(
        0, {.kind = TraceKind::handler_begin, .request = &trial.system().cpus[0].request});
  });
  trial.expect("O15 the local part of a flush runs twice", flush_of_two());
}

// ---- O16

TEST(O16, FiresWhenAPublishedRequestChanges) {
  using Request = FlushRequest<HostHal>;
  const std::vector<std::function<void(Request&)>> changes = {
      [](Request& request) { request.end += 0x1000; },
      [](Request& request) { request.start -= 0x1000; },
      [](Request& request) { request.generation = kNoGeneration; },
      [](Request& request) { request.frees_tables = true; },
      [](Request& request) { request.by_hand = true; },
  };
  for (const auto& change : changes) {
    Trial trial;
    trial.after(TraceKind::flush_send, 0, [&] { change(trial.system().cpus[0].request); });
    trial.expect("O16 a request changed while targets could read it", flush_of_two());
  }
}

// ---- O17, O18

TEST(O17, FiresWhenTheInterruptArrivedBeforeTheCallCouldBeSeen) {
  Trial trial;
  bool sent = false;
  trial.after_ipi = [&](CpuId) { sent = true; };
  trial.before_change = [&](CpuId) {
    if (!sent) return;
    sent = false;
    trial.machine.cpu(1).call_pending = false;
  };
  trial.expect("O17 a queued call is forgotten", flush_of_two());
}

TEST(O18, FiresWhenAllCpusWait) {
  Trial trial;
  trial.expect("O18 all CPUs wait",
               {{wrong([&] { trial.table_lock(0, 5).poke(1); }), op("map mm=0 page=5")},
                {op("unmap mm=0 page=1")}});
}

TEST(O18, FiresWhenACpuWaitsWithInterruptsOff) {
  Trial trial;
  trial.expect("O18 a CPU waits with interrupts off", {{wrong([] {
                 HostHal::disable_interrupts();
                 HostHal::pause();
               })}});
}

TEST(O18, IsNoForgottenCallWhereACpuWaitsWithInterruptsOff) {
  Trial trial;
  bool is_flushed = false;
  trial.after(TraceKind::handler_end, 0, [&] { is_flushed = true; });
  trial.before_change = [&](CpuId) {
    if (!is_flushed || !trial.machine.cpu(0).interrupts_enabled) return;
    is_flushed = false;
    trial.machine.cpu(0).interrupts_enabled = false;
    trial.machine.cpu(1).call_pending = false;
  };
  trial.expect("O18 a CPU waits with interrupts off", flush_of_two());
}

TEST(O18, FiresWhenARunDoesNotEnd) {
  Trial trial;
  trial.expect("O18 a run does not end", {{wrong([&] {
                 for (;;) trial.system().next_context.fetch_add(1, std::memory_order_relaxed);
               })}});
}

// ---- O19

TEST(O19, FiresWhenACpuOutsideTheMaskGetsACall) {
  Trial trial;
  bool lying = false;
  trial.after(TraceKind::flush_begin, 0, [&] {
    trial.set_in_mask(0, 1, true);
    lying = true;
  });
  trial.before_change = [&](CpuId) {
    if (std::exchange(lying, false)) trial.set_in_mask(0, 1, false);
  };
  trial.expect("O19 a flush interrupts a CPU outside the mask",
               {{await(1), op("protect mm=0 page=1")}, {op("switch_to mm=1"), go(1)}});
}

TEST(O19, FiresWhenALazyCpuGetsACallThoughNoTableIsFreed) {
  Trial trial;
  trial.after(TraceKind::flush_begin, 0,
              [&] { trial.system().cpus[1].shared.is_lazy.poke(false); });
  trial.expect("O19 a flush interrupts a lazy CPU without need",
               {{await(1), op("protect mm=0 page=1")}, {op("idle"), go(1)}});
}

TEST(O19, FiresWhenAnInterruptIsSentToNobodyOrToOneself) {
  for (const bool to_self : {false, true}) {
    Trial trial;
    trial.expect("O19 an interrupt is sent to nobody or to oneself", {{wrong([&] {
                   host::HostCpuMask targets;
                   if (to_self) targets.set(0);
                   HostHal::send_call_function_ipi(targets);
                 })}});
  }
}

TEST(O19, FiresWhenACpuWithoutACallIsInterrupted) {
  Trial trial;
  trial.expect("O19 a CPU is interrupted without a call for it",
               {{wrong([&] {
                  host::HostCpuMask targets;
                  targets.set(1);
                  HostHal::send_call_function_ipi(targets);
                })},
                {}});
}

TEST(O19, FiresWhenEverythingIsFlushedWherePagesWereEnough) {
  Trial trial;
  VirtAddr end = 0;
  auto& request = trial.system().cpus[0].request;
  trial.after(TraceKind::handler_begin, 1, [&] { end = std::exchange(request.end, kFlushAll); });
  trial.before(TraceKind::handler_end, 1, [&] { request.end = end; });
  trial.expect("O19 a full flush where a partial one was enough", flush_of_two());
}

// ---- O28

TEST(O28, FiresWhenAPageOfTheRangeIsLeftOut) {
  for (const std::uint64_t more : {std::uint64_t{1}, std::uint64_t{0x1000}}) {
    Trial trial;
    trial.distort = [&](CpuId /*cpu*/, TraceEvent& event) {
      if (event.kind == TraceKind::flush_asked) event.value2 += more;
    };
    trial.expect("O28 what was invalidated does not cover what was asked", flush_of_two());
  }
}

TEST(O28, FiresWhenTheFirstPageOfTheRangeIsLeftOut) {
  Trial trial;
  trial.distort = [&](CpuId /*cpu*/, TraceEvent& event) {
    if (event.kind == TraceKind::flush_asked) event.value -= 1;
  };
  trial.expect("O28 what was invalidated does not cover what was asked", flush_of_two());
}

TEST(O28, FiresWhenPagesStandForEverything) {
  Trial trial;
  trial.distort = [&](CpuId /*cpu*/, TraceEvent& event) {
    if (event.kind == TraceKind::flush_asked) event.value2 = kFlushAll;
  };
  trial.expect("O28 what was invalidated does not cover what was asked", flush_of_two());
}

TEST(O28, FiresWhenAKernelPageIsLeftOut) {
  for (const bool broadcast : {false, true}) {
    Trial trial;
    trial.distort = [&](CpuId /*cpu*/, TraceEvent& event) {
      if (event.kind == TraceKind::kernel_begin) event.value2 += 1;
    };
    Header header;
    header.broadcast = broadcast;
    trial.expect("O28 what was invalidated does not cover what was asked",
                 {{op("kernel_unmap page=1 count=2")}, {}}, header);
  }
}

TEST(O28, FiresWhenABroadcastLeavesAPageOut) {
  Trial trial;
  trial.distort = [&](CpuId /*cpu*/, TraceEvent& event) {
    if (event.kind == TraceKind::flush_asked && event.value2 != kFlushAll) event.value2 += 1;
  };
  Header header;
  header.broadcast = true;
  trial.expect("O28 what was invalidated does not cover what was asked",
               {{await(1), op("flush_mm mm=0"), op("flush_mm mm=0"), op("flush_mm mm=0"),
                 op("protect mm=0 page=1 count=2")},
                {op("read page=1"), go(1)}},
               header);
}

// ---- O26

TEST(O26, FiresWhenATargetIsLeftToAHostThatWillNotFlushIt) {
  Trial trial;
  trial.before(TraceKind::flush_send, 0, [&] {
    trial.oracles.on_trace(0, {.kind = TraceKind::vcpu_skipped, .value = 1});
    trial.machine.stop_if_failed();
  });
  trial.expect("O26 a virtual CPU is skipped that nobody will flush", flush_of_two(),
               {.backend = Backend::kvm});
}

}  // namespace
}  // namespace shootdown::fuzz
