// From the boot loader to the verdict.
#include <array>

#include "core/paravirt/hyperv.h"
#include "core/paravirt/kvm.h"
#include "core/paravirt/select.h"
#include "hal/x86_64/features.h"
#include "hal/x86_64/local_apic.h"
#include "hal/x86_64/paravirt/hypercalls.h"
#include "hal/x86_64/paravirt/identify.h"
#include "kernel-glue/kernel/benchmark.h"
#include "kernel-glue/kernel/clock.h"
#include "kernel-glue/kernel/command_line.h"
#include "kernel-glue/kernel/console.h"
#include "kernel-glue/kernel/cpus.h"
#include "kernel-glue/kernel/ktap.h"
#include "kernel-glue/kernel/page_table.h"
#include "kernel-glue/kernel/self_tests/races.h"
#include "kernel-glue/kernel/self_tests/scenario.h"
#include "kernel-glue/kernel/self_tests/self_tests.h"
#include "kernel-glue/kernel/self_tests/support.h"
#include "kernel-glue/kernel/stop.h"
#include "kernel-glue/kernel/tlb.h"

namespace shootdown::kernel {
namespace {

/// Looks at an answer that does not come before the run ends: every CPU here answers in a small
/// part of that time.
constexpr std::uint32_t kStallMilliseconds = 10'000;

constexpr std::array<Test, 1> kBenchmarks = {{{"benchmark: range flush", run_benchmark}}};

/// CPUs are not counted yet; with one there is no other CPU to flush by hypercall anyway.
x86::Identity detect_backend() {
  const auto leaf = [](std::uint32_t number) {
    const x86::CpuidResult result = x86::cpuid(number);
    return x86::CpuidLeaf{result.eax, result.ebx, result.ecx, result.edx};
  };
  return x86::identify(leaf, {.cpus = x86::kMaxCpus});
}

void use_backend(const x86::Identity& identity) {
  x86::prepare_paravirt(identity);
  if (identity.backend == x86::FlushBackend::kvm) select_backend(tlb, kKvmOps<Hal>);
  if (identity.backend == x86::FlushBackend::hyperv) select_backend(tlb, kHypervOps<Hal>);
}

/// Everything that must be final before a second CPU runs: keys above all.
void prepare_boot(const Options& options, const x86::CpuFeatures& features) {
  if (options.broken == Break::ipi) ordinary_shootdown = Shootdown::local_only;
  wakes_before_storing = options.broken == Break::wake;
  if (options.broken == Break::kernel_flush) kernel_shootdown = Shootdown::local_only;
  x86::prepare_local_apics(direct_map<void>(x86::kXapicPhysical));
  x86::enable_local_apic(0);
  calibrate_clock();
  x86::enable_translation_features(features);
  Config config = options.config;
  config.targets.concurrent = !options.serial_flush;
  config.limits.stall_limit = pauses_in(kStallMilliseconds);
  config.processor.pcid = features.pcid;
  config.processor.invpcid = features.invpcid;
  config.processor.invlpg_leaves_globals = features.invlpg_leaves_globals;
  // Without isolation there is no way to user mode on which a page could be flushed.
  config.isolation.defer_user_pages &= config.isolation.enabled;
  config.broadcast.enabled =
      features.invlpgb_pages != 0 && features.pcid && !config.isolation.enabled;
  config.broadcast.max_pages = features.invlpgb_pages != 0 ? features.invlpgb_pages : 1;
  initialize_tlb(config);
  use_backend(detect_backend());
  if (options.broken == Break::key) {
    Hal::set_key(Question::concurrent, !tlb.plan().concurrent);
  }
  initialize_tlb_on_this_cpu();
}

const char* name_of(Break broken) {
  switch (broken) {
    case Break::nothing:
      return "none";
    case Break::ipi:
      return "no-ipi";
    case Break::kernel_flush:
      return "no-kernel-flush";
    case Break::key:
      return "wrong-key";
    case Break::wake:
      return "early-wake";
    case Break::stack:
      return "stack-overflow";
    case Break::gs:
      return "wrong-gs";
    case Break::report:
      return "fatal-report";
  }
  return "unknown";
}

void print_configuration(const Options& options, const x86::CpuFeatures& features) {
  const Config& config = tlb.config();
  const auto on = [](bool value) { return value ? "on" : "off"; };
  const bool kept = config.targets.mask_policy == MaskPolicy::kept_lazily;
  const bool up_front = config.targets.lazy_test == LazyTest::up_front;
  const bool loaded = config.targets.target_test == TargetTest::by_loaded_mm;
  print("# cpus=", cpu_count(), " apic=", features.x2apic ? "x2apic" : "xapic",
        " pcid=", features.pcid ? "yes" : "no", " invpcid=", features.invpcid ? "yes" : "no",
        " flush=", options.serial_flush ? "serial" : "concurrent",
        " break=", name_of(options.broken), " pti=", on(config.isolation.enabled),
        " defer=", on(config.isolation.defer_user_pages),
        " early=", on(config.targets.early_acknowledgement), " masks=", kept ? "kept" : "exact",
        " lazy=", up_front ? "up-front" : "queued", " targets=", loaded ? "loaded" : "not-lazy",
        " ceiling=", config.limits.ceiling_strides, " backend=", tlb.ops()->name,
        " races=", options.races.milliseconds, " stress=", options.stress,
        " seed=", options.races.seed, "\n");
}

void print_counters(const Counters& counters) {
  for (const CounterName& counter : kCounterNames) {
    print(" ", counter.name, "=", std::uint64_t{counters.*counter.field});
  }
  print("\n");
}

/// What each CPU has counted, and all together.
void print_all_counters() {
  for (CpuId cpu = 0; cpu < cpu_count(); ++cpu) {
    print("# counters cpu=", cpu);
    print_counters(tlb.cpus[cpu].own.counters);
  }
  print("# counters sum");
  print_counters(sum_counters(tlb));
}

/// Calls itself until the stack is full.
[[gnu::noinline]] std::uint64_t overflow_stack(std::uint64_t depth) {
  volatile std::uint64_t words[64];
  words[depth % 64] = depth;
  return depth == ~std::uint64_t{0} ? 0 : overflow_stack(depth + 1) + words[depth % 64];
}

/// The ways to die, for tests that each is named.
void die_if_asked(Break broken) {
  switch (broken) {
    case Break::stack:
      static_cast<void>(overflow_stack(0));
      return;
    case Break::gs:
      x86::write_msr(x86::kMsrGsBase, 0x1000'0000'0000);
      asm volatile("ud2");
      return;
    case Break::report:
      // The report reads its text behind the end of the address space's lower half.
      fatal(reinterpret_cast<const char*>(0x7fff'ffff'f000));
    default:
      return;
  }
}

bool run(const Options& options) {
  die_if_asked(options.broken);
  if (options.bench) return run_tests(kBenchmarks.data(), kBenchmarks.size(), options.tests);
  if (options.races.milliseconds != 0) return run_races(options.races, options.tests);
  if (options.stress != 0) return run_stress(options.stress, options.races.seed);
  if (options.scenario != nullptr) return run_scenario(options.scenario);
  return run_self_tests(options.tests);
}

}  // namespace

/// On a stack with a guard.
extern "C" [[noreturn]] void run_kernel(std::uint32_t multiboot_information) {
  initialize_console();
  print("shootdown test kernel\n");
  prepare_boot_cpu();
  const Options options = read_command_line(multiboot_information);
  build_kernel_tables(options.config.isolation.enabled);
  guard_stacks();
  const x86::CpuFeatures features = x86::detect_features();
  prepare_boot(options, features);
  start_other_cpus();
  x86::enable_interrupts();
  print_configuration(options, features);
  const bool passed = run(options);
  if (!options.tests.list) print_all_counters();
  stop_machine(passed);
}

extern "C" [[noreturn]] void kernel_main(std::uint32_t multiboot_information) {
  asm volatile("movq %0, %%rsp\n\tcall *%1" ::"r"(boot_cpu_stack()), "r"(run_kernel),
               "D"(multiboot_information)
               : "memory");
  __builtin_unreachable();
}

}  // namespace shootdown::kernel
