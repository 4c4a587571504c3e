// Compiled with instrumented memory accesses, see BUILD.bazel: what of the core is instantiated
// here is what the directory sees.
#include "tests/ledger/entry_points.h"

#include <array>
#include <cstring>
#include <memory>
#include <utility>

#include "core/broadcast.h"
#include "core/shootdown.h"
#include "tests/ledger/counting_hal.h"
#include "tests/ledger/machine.h"

namespace shootdown::ledger {
namespace {

using H = CountingHal;

constexpr unsigned kWarmUp = 4;
constexpr VirtAddr kUser = 0x40'0000'0000;
constexpr VirtAddr kKernel = 0xffff'8880'0000'0000;
// The model looks into no table here: nothing is accessed through any of these roots.
constexpr PhysAddr kKernelRoot = 0x1000;
constexpr PhysAddr kRoot = 0x2000;
constexpr PhysAddr kUserRoot = 0x3000;
constexpr PhysAddr kOtherRoot = 0x4000;
constexpr PhysAddr kOtherUserRoot = 0x5000;

struct World;
using Step = void (*)(World& world);

struct EntryPoint {
  const char* name;
  unsigned modes;  // bits of Mode
  CpuId least;     // CPUs that the situation needs
  Step prepare;    // not counted
  Step operate;
  Step restore;  // not counted
};

struct alignas(kCacheLine) World {
  System<H> system{};
  Mm<H> mm{};
  Mm<H> other{};

  EntryBlock<H> entry_block{};  // of CPU 0
  ReclaimBatch<H> batch{};

  // No part of the core: no line of these has a name.
  Configuration configuration{};
  const EntryPoint* entry_point{nullptr};
  std::array<Step, kCpus> jobs{};
  bool is_over{false};
};

template <class Operation>
void with_interrupts_off(Operation&& operation) {
  H::disable_interrupts();
  operation();
  H::enable_interrupts();
}

/// Has another CPU take the step, and waits for it.
void on(World& world, CpuId cpu, Step step) {
  world.jobs[cpu] = step;
  news();
  while (world.jobs[cpu] != nullptr) H::pause();
}
/// The same with every other CPU, one after the other.
void on_others(World& world, Step step) {
  for (CpuId cpu = 1; cpu < world.configuration.cpus; ++cpu) on(world, cpu, step);
}

void load(World& world, Mm<H>& mm) {
  with_interrupts_off([&] { switch_mm(world.system, mm); });
}
void load_mm_again(World& world) { load(world, world.mm); }
void load_other(World& world) { load(world, world.other); }
void become_lazy(World& world) {
  with_interrupts_off([&] { enter_lazy_tlb(world.system); });
}
void others_load_mm(World& world) { on_others(world, load_mm_again); }
void others_load_other(World& world) { on_others(world, load_other); }
void others_become_lazy(World& world) { on_others(world, become_lazy); }
/// The lines of both masks are elsewhere then.
void others_switch(World& world) {
  others_load_other(world);
  others_load_mm(world);
}
void nothing(World& /*world*/) {}

template <std::uint64_t kPages>
void flush_pages(World& world) {
  static_cast<void>(flush_tlb_mm_range(world.system, world.mm,
                                       {.start = kUser, .end = kUser + (kPages << kPageShift)}));
}

void flush_freed_tables(World& world) {
  static_cast<void>(flush_tlb_mm_range_freed_tables(world.system, world.mm,
                                                    {.start = kUser, .end = kUser + 0x1000}));
}

constexpr unsigned bit(Mode mode) { return 1U << static_cast<unsigned>(mode); }
constexpr unsigned kAnyWay = bit(Mode::concurrent) | bit(Mode::invlpgb);
constexpr unsigned kIsolated =
    bit(Mode::concurrent) | (1U << 31);  // with page-table isolation only
constexpr unsigned kByAll = kAnyWay | bit(Mode::serial);

constexpr EntryPoint kEntryPoints[] = {
    {"range_1_page", kByAll, 1, nothing, flush_pages<1>, nothing},
    {"range_10_pages", kByAll, 1, nothing, flush_pages<10>, nothing},
    {"range_33_pages", kByAll, 1, nothing, flush_pages<33>, nothing},
    {"everything", kByAll, 1, nothing,
     [](World& world) { static_cast<void>(flush_tlb_mm(world.system, world.mm)); }, nothing},
    {"freed_tables_1_page", kByAll, 1, nothing, flush_freed_tables, nothing},
    {"range_4_of_2_mib", kByAll, 1, nothing,
     [](World& world) {
       static_cast<void>(flush_tlb_mm_range(world.system, world.mm,
                                            {.start = kUser,
                                             .end = kUser + (4ULL << kLargePageShift),
                                             .stride_shift = kLargePageShift}));
     },
     nothing},
    {"range_1_after_switches", kAnyWay, 2, others_switch, flush_pages<1>, nothing},
    {"protect_1_page", bit(Mode::early), 1, nothing,
     [](World& world) {
       static_cast<void>(flush_tlb_mm_range_early(world.system, world.mm,
                                                  {.start = kUser, .end = kUser + 0x1000}));
     },
     nothing},
    {"range_1_from_elsewhere", kAnyWay, 1, load_other, flush_pages<1>, load_mm_again},
    {"range_1_last_lazy", kAnyWay, 2,
     [](World& world) { on(world, world.configuration.cpus - 1, become_lazy); }, flush_pages<1>,
     others_load_mm},
    {"range_1_others_lazy", kAnyWay, 2, others_become_lazy, flush_pages<1>, others_load_mm},
    {"freed_tables_1_others_lazy", kAnyWay, 2, others_become_lazy, flush_freed_tables,
     others_load_mm},
    {"range_1_others_left", bit(Mode::kept), 2, others_load_other, flush_pages<1>, others_load_mm},
    {"kernel_1_page", kAnyWay, 1, nothing,
     [](World& world) {
       static_cast<void>(flush_tlb_kernel_range(world.system, kKernel, kKernel + 0x1000));
     },
     nothing},
    {"kernel_everything", kAnyWay, 1, nothing,
     [](World& world) { static_cast<void>(flush_tlb_all(world.system)); }, nothing},
    {"batch_of_1_mm", kAnyWay, 1, nothing,
     [](World& world) {
       ReclaimBatch<H> batch;
       batch.add(world.system, world.mm);
       static_cast<void>(batch.flush(world.system));
     },
     nothing},
    {"batch_pending", kAnyWay, 1, [](World& world) { world.batch.add(world.system, world.mm); },
     [](World& world) { flush_tlb_batched_pending(world.system, world.mm); }, nothing},
    {"retire_others_lazy", kAnyWay, 2,
     [](World& world) {
       others_load_other(world);
       others_become_lazy(world);
     },
     [](World& world) { static_cast<void>(retire_mm(world.system, world.other)); },
     [](World& world) {
       initialize_mm(world.system, world.other, kOtherRoot, kOtherUserRoot);
       others_load_mm(world);
     }},
    {"temporary_mm", kAnyWay, 1, nothing,
     [](World& world) { const TemporaryMm<H> temporary(world.system, world.other); }, nothing},
    {"return_to_user", kIsolated, 1, [](World& /*world*/) { H::disable_interrupts(); },
     [](World& world) { return_to_user(world.system, world.entry_block); },
     [](World& world) {
       enter_from_user(world.entry_block);
       H::enable_interrupts();
     }},
    {"return_to_user_after_everything", kIsolated, 1,
     [](World& world) {
       static_cast<void>(flush_tlb_mm(world.system, world.mm));
       H::disable_interrupts();
     },
     [](World& world) { return_to_user(world.system, world.entry_block); },
     [](World& world) {
       enter_from_user(world.entry_block);
       H::enable_interrupts();
     }},
    {"entry_from_user", kIsolated, 1,
     [](World& world) {
       H::disable_interrupts();
       return_to_user(world.system, world.entry_block);
     },
     [](World& world) { enter_from_user(world.entry_block); },
     [](World& /*world*/) { H::enable_interrupts(); }},
    {"switch", kAnyWay, 1, nothing, load_other, load_mm_again},
    {"switch_after_others", kAnyWay, 2, others_switch, load_other, load_mm_again},
    {"switch_flush_due", kAnyWay, 1,
     [](World& world) { static_cast<void>(flush_tlb_mm(world.system, world.other)); }, load_other,
     load_mm_again},
    {"switch_to_the_loaded", kAnyWay, 1, nothing, load_mm_again, nothing},
    {"lazy_entry", kAnyWay, 1, nothing, become_lazy, load_mm_again},
    {"lazy_exit", kAnyWay, 1, become_lazy, load_mm_again, nothing},
    {"lazy_exit_flush_due", kAnyWay, 2,
     [](World& world) {
       become_lazy(world);
       on(world, 1, flush_pages<1>);
     },
     load_mm_again, nothing},
    {"leave_mm", kAnyWay, 1, nothing,
     [](World& world) { with_interrupts_off([&] { leave_mm(world.system); }); }, load_mm_again},
    {"bring_up", kAnyWay, 1,
     [](World& world) {
       H::disable_interrupts();
       take_cpu_offline(world.system);
     },
     [](World& world) { initialize_cpu(world.system); },
     [](World& world) {
       H::enable_interrupts();
       load_mm_again(world);
     }},
    {"offline", kAnyWay, 1, [](World& /*world*/) { H::disable_interrupts(); },
     [](World& world) { take_cpu_offline(world.system); },
     [](World& world) {
       initialize_cpu(world.system);
       H::enable_interrupts();
       load_mm_again(world);
     }},
};

constexpr auto kNames = [] {
  std::array<const char*, std::size(kEntryPoints)> names{};
  for (std::size_t i = 0; i < names.size(); ++i) names[i] = kEntryPoints[i].name;
  return names;
}();

const EntryPoint& find(const char* name) {
  for (const EntryPoint& entry_point : kEntryPoints) {
    if (std::strcmp(entry_point.name, name) == 0) return entry_point;
  }
  __builtin_trap();
}

// ---- Names

template <class Field>
void name_object(const Field& field, const char* name, bool numbered = false) {
  directory().name(&field, sizeof(field), name, numbered);
}

/// The names that the core gives its words come first. What has none has that of what it is in.
void name_lines(World& world) {
  System<H>& system = world.system;
  const auto under = [](const std::string& prefix) {
    return [prefix](const char* name, auto& word) { name_object(word, (prefix + name).c_str()); };
  };
  world.mm.visit_shared(under("mm."));
  world.other.visit_shared(under("other."));
  system.kernel_mm.visit_shared(under("kernel_mm."));
  system.calls.visit_shared(under("calls."));
  system.global_asids.visit_shared(under(""));
  for (CpuState<H>& cpu : system.cpus) {
    name_object(cpu.shared.is_lazy, "cpu.is_lazy");
    name_object(cpu.own, "cpu.own", /*numbered=*/true);
    name_object(cpu, "cpu");
  }
  for (CpuId cpu = 0; cpu < H::kMaxCpus; ++cpu) {
    name_object(system.calls.post_of(cpu), "call_post");
  }
  name_object(system.calls, "calls");
  name_object(system.config(), "config");
  name_object(system.plan(), "plan");
  name_object(system, "system");
  name_object(world.mm, "mm");
  name_object(world.other, "other");
}

/// The stack of this CPU, from here on: on a line of its own, so that what is on it is always
/// equally far from the ends of lines.
template <class Program>
void on_named_stack(Program&& program) {
  constexpr std::size_t kStack = 16384;
  alignas(kCacheLine) volatile char end = 0;
  static_cast<void>(end);
  const auto* below = const_cast<const char*>(&end) - kStack;
  directory().name(below, kStack, "stack");
  program();
}

// ---- What the CPUs run

Config config_for(const Configuration& configuration) {
  Config config{};
  config.isolation.enabled = configuration.isolation;
  config.targets.concurrent = configuration.mode != Mode::serial;
  config.targets.early_acknowledgement = configuration.mode == Mode::early;
  if (configuration.mode == Mode::kept) config.targets.mask_policy = MaskPolicy::kept_lazily;
  config.broadcast.enabled = configuration.mode == Mode::invlpgb;
  config.broadcast.max_pages = 4;
  config.broadcast.threshold = 0;
  return config;
}

void boot(void* argument, CpuId cpu) {
  auto& world = *static_cast<World*>(argument);
  if (cpu == 0) {
    initialize_system(world.system, config_for(world.configuration), kKernelRoot);
    initialize_mm(world.system, world.mm, kRoot, kUserRoot);
    initialize_mm(world.system, world.other, kOtherRoot, kOtherUserRoot);
  }
  initialize_cpu(world.system);
  H::enable_interrupts();
}

[[gnu::noinline]] void run_first_cpu(World& world) {
  const EntryPoint& entry_point = *world.entry_point;
  on_others(world, load_mm_again);
  load_other(world);
  // With broadcast both mms get a global ASID here, and later ones find every CPU on it.
  for (unsigned i = 0; i < 4; ++i) static_cast<void>(flush_tlb_mm(world.system, world.other));
  load_mm_again(world);
  for (unsigned i = 0; i < 4; ++i) static_cast<void>(flush_tlb_mm(world.system, world.mm));
  for (unsigned round = 0; round <= kWarmUp; ++round) {
    entry_point.prepare(world);
    if (round == kWarmUp) start_counting();
    entry_point.operate(world);
    if (round == kWarmUp) stop_counting();
    entry_point.restore(world);
  }
  world.is_over = true;
  news();
}

[[gnu::noinline]] void run_another_cpu(World& world, CpuId cpu) {
  while (!world.is_over) {
    if (const Step job = world.jobs[cpu]; job != nullptr) {
      job(world);
      world.jobs[cpu] = nullptr;
      news();
    }
    H::pause();
  }
}

void program(void* argument, CpuId cpu) {
  auto& world = *static_cast<World*>(argument);
  on_named_stack([&] { cpu == 0 ? run_first_cpu(world) : run_another_cpu(world, cpu); });
}

void interrupt(void* argument, CpuId /*cpu*/) {
  handle_call_function_interrupt(static_cast<World*>(argument)->system);
}

}  // namespace

std::span<const char* const> entry_points() { return kNames; }

bool is_in_ledger(const char* entry_point, const Configuration& configuration) {
  const EntryPoint& found = find(entry_point);
  // Broadcast and page-table isolation exclude each other; masks do not ask about isolation.
  const bool can_isolate = configuration.mode != Mode::invlpgb && configuration.mode != Mode::kept;
  const bool must_isolate = (found.modes & kIsolated & ~bit(Mode::concurrent)) != 0;
  return (found.modes & bit(configuration.mode)) != 0 && configuration.cpus >= found.least &&
         (configuration.isolation ? can_isolate : !must_isolate);
}

std::string count_operation(const char* entry_point, const Configuration& configuration,
                            Schedule schedule) {
  directory().forget();
  const auto world = std::make_unique<World>();
  world->configuration = configuration;
  world->entry_point = &find(entry_point);
  name_lines(*world);
  return run_machine(
      configuration.cpus,
      {.boot = boot, .program = program, .interrupt = interrupt, .argument = world.get()},
      schedule);
}

}  // namespace shootdown::ledger
