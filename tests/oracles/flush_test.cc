// Each oracle about flushes, handlers, calls and waiting is seen to fire, by its title.
#include <gtest/gtest.h>

#include "tests/oracles/oracle_fixture.h"

namespace shootdown::fuzz {
namespace {

Script flush_of_two(std::string_view change = "protect mm=0 page=1 count=2") {
  return {{await(1), op(change)}, {op("read page=1"), go(1)}};
}

// ---- O10, O11

TEST(O10, FiresWhenAPartialFlushSkipsAGeneration) {
  OracleFixture fixture;
  // CPU 1 has missed generation 2, and takes the flush of generation 3 for all that it missed.
  fixture.before(TraceKind::flush_begin, 0, [&] { fixture.asid_of(0, 0).generation = 2; });
  fixture.after(TraceKind::handler_begin, 1, [&] { fixture.asid_of(1, 0).generation = 2; });
  fixture.expect(
      "O10 a partial flush skips a generation",
      {{await(1), wrong([&] { fixture.core_mm(0).tlb_gen.poke(2); }), op("protect mm=0 page=1")},
       {op("read page=1"), go(1)}});
}

TEST(O11, FiresWhenTheRecordedGenerationWasReadAfterTheFlush) {
  OracleFixture fixture;
  fixture.distort = [&](CpuId cpu, TraceEvent& event) {
    if (event.kind != TraceKind::handler_end || cpu != 1) return;
    // Another flush begins between the invalidation and the second look.
    fixture.core_mm(0).tlb_gen.poke(fixture.core_mm(0).tlb_gen.peek() + 1);
    event.value2 = fixture.core_mm(0).tlb_gen.peek();
  };
  fixture.expect("O11 the recorded generation was read after the flush",
                 flush_of_two("flush_mm mm=0"));
}

// ---- O15

TEST(O15, FiresWhenAFlushReturnsBeforeEveryCallHasRun) {
  OracleFixture fixture;
  fixture.after(TraceKind::call_queued, 0, [&] { fixture.answer_for(0, 1); });
  fixture.expect("O15 a flush returns before every call has run", flush_of_two());
}

TEST(O15, FiresWhenACallIsQueuedTwice) {
  OracleFixture fixture;
  fixture.after(TraceKind::call_queued, 0, [&] {
    fixture.oracles.on_trace(0, {.kind = TraceKind::call_queued, .value = 1, .value2 = 0});
  });
  fixture.expect("O15 a call is queued twice on one target", flush_of_two());
}

TEST(O15, FiresWhenACallRunsTwice) {
  OracleFixture fixture;
  fixture.after(TraceKind::call_run, 1,
                [&] { fixture.oracles.on_trace(1, {.kind = TraceKind::call_run, .value = 0}); });
  fixture.expect("O15 a call runs without being queued", flush_of_two());
}

TEST(O15, FiresWhenACallRunsWithInterruptsOn) {
  OracleFixture fixture;
  fixture.before(TraceKind::call_run, 1, [&] { fixture.machine.cpu(1).interrupts_enabled = true; });
  fixture.expect("O15 a call runs with interrupts on", flush_of_two());
}

TEST(O15, FiresWhenTheFlushFunctionRunsWithInterruptsOn) {
  for (CpuId cpu : {0U, 1U}) {
    OracleFixture fixture;
    fixture.before(TraceKind::handler_begin, cpu,
                   [&] { fixture.machine.cpu(cpu).interrupts_enabled = true; });
    fixture.expect("O15 the flush function runs with interrupts on", flush_of_two());
  }
}

TEST(O11, ComesBeforeO10WhereBothHold) {
  OracleFixture fixture;
  fixture.distort = [&](CpuId cpu, TraceEvent& event) {
    if (event.kind != TraceKind::handler_end || cpu != 1) return;
    fixture.core_mm(0).tlb_gen.poke(fixture.core_mm(0).tlb_gen.peek() + 1);
    event.value2 = fixture.core_mm(0).tlb_gen.peek();
  };
  fixture.expect("O11 the recorded generation was read after the flush", flush_of_two());
}

TEST(O15, FiresWhenTheLocalPartRunsTwice) {
  OracleFixture fixture;
  unsigned runs = 0;
  // The request is also queued for the initiator, as a predicate that forgets "self" would do.
  fixture.after(TraceKind::handler_end, 0, [&] {
    if (++runs != 1) return;
    fixture.oracles.on_trace(0, {.kind = TraceKind::handler_begin,
                                 .request = &fixture.system().calls.post_of(0).request});
  });
  fixture.expect("O15 the local part of a flush runs twice", flush_of_two());
}

// ---- O16

TEST(O16, FiresWhenAPublishedRequestChanges) {
  using Request = FlushRequest<HostHal>;
  const std::vector<std::function<void(Request&)>> changes = {
      [](Request& request) { request.end += 0x1000; },
      [](Request& request) { request.start -= 0x1000; },
      [](Request& request) { request.generation = kNoGeneration; },
      [](Request& request) { request.frees_tables = true; },
      [](Request& request) { request.needs_ipi_handler = true; },
  };
  for (const auto& change : changes) {
    OracleFixture fixture;
    fixture.after(TraceKind::flush_send, 0,
                  [&] { change(fixture.system().calls.post_of(0).request); });
    fixture.expect("O16 a request changed while targets could read it", flush_of_two());
  }
}

// ---- O17, O18

TEST(O17, FiresWhenTheInterruptArrivedBeforeTheCallCouldBeSeen) {
  OracleFixture fixture;
  bool sent = false;
  fixture.after_ipi = [&](CpuId) { sent = true; };
  fixture.before_change = [&](CpuId) {
    if (!sent) return;
    sent = false;
    fixture.machine.cpu(1).call_pending = false;
  };
  fixture.expect("O17 a queued call is forgotten", flush_of_two());
}

TEST(O18, FiresWhenAllCpusWait) {
  OracleFixture fixture;
  fixture.expect("O18 all CPUs wait",
                 {{wrong([&] { fixture.table_lock(0, 5).poke(1); }), op("map mm=0 page=5")},
                  {op("unmap mm=0 page=1")}});
}

TEST(O18, FiresWhenACpuWaitsWithInterruptsOff) {
  OracleFixture fixture;
  fixture.expect("O18 a CPU waits with interrupts off", {{wrong([] {
                   HostHal::disable_interrupts();
                   HostHal::pause();
                 })}});
}

TEST(O18, IsNoForgottenCallWhereACpuWaitsWithInterruptsOff) {
  OracleFixture fixture;
  bool is_flushed = false;
  fixture.after(TraceKind::handler_end, 0, [&] { is_flushed = true; });
  fixture.before_change = [&](CpuId) {
    if (!is_flushed || !fixture.machine.cpu(0).interrupts_enabled) return;
    is_flushed = false;
    fixture.machine.cpu(0).interrupts_enabled = false;
    fixture.machine.cpu(1).call_pending = false;
  };
  fixture.expect("O18 a CPU waits with interrupts off", flush_of_two());
}

TEST(O18, FiresWhenARunDoesNotEnd) {
  OracleFixture fixture;
  fixture.expect("O18 a run does not end", {{wrong([&] {
                   for (;;) fixture.system().next_context.fetch_add(1, std::memory_order_relaxed);
                 })}});
}

// ---- O19

TEST(O19, FiresWhenACpuOutsideTheMaskGetsACall) {
  OracleFixture fixture;
  bool lying = false;
  fixture.after(TraceKind::flush_begin, 0, [&] {
    fixture.set_in_mask(0, 1, true);
    lying = true;
  });
  fixture.before_change = [&](CpuId) {
    if (std::exchange(lying, false)) fixture.set_in_mask(0, 1, false);
  };
  fixture.expect("O19 a flush interrupts a CPU outside the mask",
                 {{await(1), op("protect mm=0 page=1")}, {op("switch_to mm=1"), go(1)}});
}

TEST(O19, FiresWhenALazyCpuGetsACallThoughNoTableIsFreed) {
  OracleFixture fixture;
  fixture.after(TraceKind::flush_begin, 0,
                [&] { fixture.system().cpus[1].shared.is_lazy.poke(false); });
  fixture.expect("O19 a flush interrupts a lazy CPU without need",
                 {{await(1), op("protect mm=0 page=1")}, {op("idle"), go(1)}});
}

TEST(O19, FiresWhenAnInterruptIsSentToNobodyOrToOneself) {
  for (const bool to_self : {false, true}) {
    OracleFixture fixture;
    fixture.expect("O19 an interrupt is sent to no CPU or to the sender", {{wrong([&] {
                     host::HostCpuMask targets;
                     if (to_self) targets.set(0);
                     HostHal::send_call_function_ipi(targets);
                   })}});
  }
}

TEST(O19, FiresWhenACpuWithoutACallIsInterrupted) {
  OracleFixture fixture;
  fixture.expect("O19 a CPU is interrupted without a call for it",
                 {{wrong([&] {
                    host::HostCpuMask targets;
                    targets.set(1);
                    HostHal::send_call_function_ipi(targets);
                  })},
                  {}});
}

TEST(O19, FiresWhenEverythingIsFlushedWherePagesWereEnough) {
  OracleFixture fixture;
  VirtAddr end = 0;
  auto& request = fixture.system().calls.post_of(0).request;
  fixture.after(TraceKind::handler_begin, 1, [&] { end = std::exchange(request.end, kFlushAll); });
  fixture.before(TraceKind::handler_end, 1, [&] { request.end = end; });
  fixture.expect("O19 a full flush where a partial one was enough", flush_of_two());
}

// ---- O28

TEST(O28, FiresWhenAPageOfTheRangeIsLeftOut) {
  for (const std::uint64_t more : {std::uint64_t{1}, std::uint64_t{0x1000}}) {
    OracleFixture fixture;
    fixture.distort = [&](CpuId /*cpu*/, TraceEvent& event) {
      if (event.kind == TraceKind::flush_asked) event.value2 += more;
    };
    fixture.expect("O28 what was invalidated does not cover what was asked", flush_of_two());
  }
}

TEST(O28, FiresWhenTheFirstPageOfTheRangeIsLeftOut) {
  OracleFixture fixture;
  fixture.distort = [&](CpuId /*cpu*/, TraceEvent& event) {
    if (event.kind == TraceKind::flush_asked) event.value -= 1;
  };
  fixture.expect("O28 what was invalidated does not cover what was asked", flush_of_two());
}

TEST(O28, FiresWhenPagesStandForEverything) {
  OracleFixture fixture;
  fixture.distort = [&](CpuId /*cpu*/, TraceEvent& event) {
    if (event.kind == TraceKind::flush_asked) event.value2 = kFlushAll;
  };
  fixture.expect("O28 what was invalidated does not cover what was asked", flush_of_two());
}

TEST(O28, FiresWhenAKernelPageIsLeftOut) {
  for (const bool broadcast : {false, true}) {
    OracleFixture fixture;
    fixture.distort = [&](CpuId /*cpu*/, TraceEvent& event) {
      if (event.kind == TraceKind::kernel_begin) event.value2 += 1;
    };
    Header header;
    header.broadcast = broadcast;
    fixture.expect("O28 what was invalidated does not cover what was asked",
                   {{op("kernel_unmap page=1 count=2")}, {}}, header);
  }
}

TEST(O28, FiresWhenABroadcastLeavesAPageOut) {
  OracleFixture fixture;
  fixture.distort = [&](CpuId /*cpu*/, TraceEvent& event) {
    if (event.kind == TraceKind::flush_asked && event.value2 != kFlushAll) event.value2 += 1;
  };
  Header header;
  header.broadcast = true;
  fixture.expect("O28 what was invalidated does not cover what was asked",
                 {{await(1), op("flush_mm mm=0"), op("flush_mm mm=0"), op("flush_mm mm=0"),
                   op("protect mm=0 page=1 count=2")},
                  {op("read page=1"), go(1)}},
                 header);
}

// ---- O26

TEST(O26, FiresWhenATargetIsLeftToAHostThatWillNotFlushIt) {
  OracleFixture fixture;
  fixture.before(TraceKind::flush_send, 0, [&] {
    fixture.oracles.on_trace(0, {.kind = TraceKind::vcpu_skipped, .value = 1});
    fixture.machine.stop_if_failed();
  });
  fixture.expect("O26 a virtual CPU is skipped that its host will not flush", flush_of_two(),
                 {.backend = Backend::kvm});
}

}  // namespace
}  // namespace shootdown::fuzz
