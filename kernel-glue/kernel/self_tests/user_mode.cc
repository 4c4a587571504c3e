// Ring 3 on every CPU: what it may and may not do there, what it sees of the kernel, and NMIs that
// arrive anywhere on the way in and out.
#include "kernel-glue/kernel/user_mode.h"

#include "kernel-glue/kernel/console.h"
#include "kernel-glue/kernel/entry_area.h"
#include "kernel-glue/kernel/interrupts.h"
#include "kernel-glue/kernel/self_tests/self_tests.h"
#include "kernel-glue/kernel/self_tests/support.h"

namespace shootdown::kernel {
namespace {

constexpr std::uint64_t kGeneralProtection = 13;

/// What SWAPGS exchanges the GS base with.
constexpr std::uint32_t kMsrOtherGsBase = 0xc000'0102;

Mask all_cpus() {
  Mask all = other_cpus();
  all.set(0);
  return all;
}

bool is_page_fault(const UserExit& exit, VirtAddr address, std::uint64_t error_code) {
  return exit.faulted && exit.vector == kPageFault && exit.value == address &&
         exit.error_code == (error_code | kFaultUser);
}

/// Answers system call n with what it was asked, plus n; and page faults by mapping the page.
struct Kernel {
  AddressSpace& mm;
  PhysAddr frame;
  bool wrong_context{false};

  static std::uint64_t call(void* self, std::uint64_t number, std::uint64_t a, std::uint64_t) {
    static_cast<Kernel*>(self)->check_context();
    return a + number;
  }
  static bool fault(void* self, VirtAddr address, std::uint64_t /*error_code*/) {
    auto& kernel = *static_cast<Kernel*>(self);
    kernel.check_context();
    kernel.mm.map(address & ~VirtAddr{kPageBytes - 1}, kernel.frame);
    return true;
  }
  void check_context() {
    if (x86::interrupt_depth() != 0 || !x86::interrupts_enabled()) wrong_context = true;
  }
};

/// What one CPU found out in user mode.
struct Findings {
  std::uint64_t marker{0};
  std::uint64_t answer{0};
  UserExit kernel_text{};
  UserExit kernel_data{};
  UserExit entry_data{};
  UserExit own_code{};
  UserExit halted{};
  std::uint64_t mapped_on_demand{0};
  bool wrong_context{false};
};

/// The trial of one CPU.
struct Trial {
  AddressSpace& mm;
  UserPrograms& programs;
  const MarkedFrame& frame;
  std::array<Findings, x86::kMaxCpus> findings{};

  void operator()(CpuId cpu) {
    Findings& found = findings[cpu];
    load(mm.core);
    found.marker = programs.run(read_once, test_page(0)).value;
    Kernel kernel{.mm = mm, .frame = frame.address()};
    const UserServices services{.self = &kernel, .call = Kernel::call, .fault = Kernel::fault};
    found.answer = programs.run(call_once, 7, services).value;
    found.kernel_text = programs.run(read_once, reinterpret_cast<VirtAddr>(&test_user_mode));
    found.kernel_data = programs.run(increment_once, reinterpret_cast<VirtAddr>(&tlb));
    found.entry_data = programs.run(increment_once, reinterpret_cast<VirtAddr>(&entry_area()));
    found.own_code = programs.run(increment_once, kUserPrograms);
    found.halted = programs.run(halt, 0);
    found.mapped_on_demand = programs.run(read_once, test_page(1 + cpu), services).value;
    found.wrong_context = kernel.wrong_context;
    load_kernel_mm();
  }
};

void check(Report& report, CpuId cpu, const Findings& found, const MarkedFrame& frame) {
  report.expect(found.marker == frame.marker(), "user code reads its page");
  report.expect(found.answer == 12, "a system call is answered");
  const auto text = reinterpret_cast<VirtAddr>(&test_user_mode);
  const auto data = reinterpret_cast<VirtAddr>(&tlb);
  const auto area = reinterpret_cast<VirtAddr>(&entry_areas[cpu]);
  // Under isolation there is nothing at the address of ordinary kernel text, or of the core's own
  // state. What an entry needs is there, but not for user mode.
  report.expect(is_page_fault(found.kernel_text, text, isolated() ? 0 : kFaultPresent),
                "user code cannot read kernel text");
  report.expect(is_page_fault(found.kernel_data, data, isolated() ? 0 : kFaultPresent),
                "user code cannot read kernel data");
  report.expect(is_page_fault(found.entry_data, area, kFaultPresent),
                "user code cannot read what an entry needs");
  report.expect(is_page_fault(found.own_code, kUserPrograms, kFaultPresent | kFaultWrite),
                "user code cannot change itself");
  report.expect(found.halted.faulted && found.halted.vector == kGeneralProtection,
                "user code cannot halt the CPU");
  report.expect(found.mapped_on_demand == frame.marker(), "a fault is served and tried again");
  report.expect(!found.wrong_context, "system calls and faults are served as thread code");
}

/// What a user root maps of the kernel.
struct KernelPages {
  std::uint64_t text{0};
  std::uint64_t data{0};
  VirtAddr other{0};
  bool wrong_rights{false};

  static void visit(void* self, VirtAddr address, std::uint64_t entry) {
    auto& pages = *static_cast<KernelPages*>(self);
    const std::uint64_t rights = entry & (kWritable | kUser | kLarge | kGlobal | kNoExecute);
    if (entry_text().contains(address)) {
      ++pages.text;
      pages.wrong_rights = pages.wrong_rights || rights != 0;
    } else if (entry_data().contains(address)) {
      ++pages.data;
      pages.wrong_rights = pages.wrong_rights || rights != (kWritable | kNoExecute);
    } else {
      pages.other = address;
    }
  }
};

/// The list of all that a user root maps of the kernel; tests/object:entry_test says what is in it.
void check_kernel_pages(Report& report, PhysAddr user_root) {
  KernelPages pages;
  for_each_kernel_page(user_root, KernelPages::visit, &pages);
  if (pages.other != 0) print("# the user root maps ", Hex{pages.other}, "\n");
  report.expect(pages.other == 0, "the user root maps nothing but what an entry needs");
  report.expect(pages.text == entry_text().pages(), "and all of the entry text");
  report.expect(pages.data == entry_data().pages(), "and of the entry data");
  report.expect(!pages.wrong_rights, "with no more rights than an entry needs");
}

void check_user_root(Report& report, const AddressSpace& mm) {
  const PhysAddr user_root = mm.core.user_root;
  check_kernel_pages(report, user_root);
  const auto text = reinterpret_cast<VirtAddr>(&test_user_mode);
  report.expect(is_mapped(user_root, test_page(0)), "the user root maps user pages");
  report.expect(is_mapped(user_root, reinterpret_cast<VirtAddr>(&entry_area())),
                "the user root maps the entry areas");
  report.expect(!is_mapped(user_root, text), "the user root does not map kernel text");
  report.expect(!is_mapped(user_root, SHOOTDOWN_DIRECT_MAP_BASE),
                "the user root does not map physical memory");
  report.expect(!is_mapped(user_root, reinterpret_cast<VirtAddr>(&tlb)),
                "the user root does not map the core's state");
  report.expect(is_mapped(mm.core.root, text), "the kernel's root does");
}

/// Counts NMIs, and those that found the kernel's own state out of order.
struct Nmis {
  x86::Atomic<std::uint64_t> seen{0};
  x86::Atomic<std::uint64_t> disordered{0};
};
constinit std::array<Nmis, x86::kMaxCpus> nmis{};

/// What every NMI must find: the kernel's root, if the core is not in the middle of a switch, and
/// the kernel's GS base, without which the depth would not be counted here.
void look_around() {
  const CpuId cpu = x86::this_cpu();
  const auto& own = tlb.cpus[cpu].own;
  const Mm* loaded = own.loaded_mm.owner_load();
  const bool right_root =
      loaded == nullptr || x86::read_cr3() == cr3_value(tlb, *loaded, own.loaded_asid);
  if (!right_root || !Hal::in_interrupt()) {
    nmis[cpu].disordered.fetch_add(1, std::memory_order_relaxed);
  }
  nmis[cpu].seen.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

void test_user_mode(Report& report) {
  AddressSpace mm;
  MarkedFrame frame;
  {
    UserPrograms programs{mm, all_cpus()};
    mm.map(test_page(0), frame.address());
    // The table for pages on demand is there: only CPU 0 allocates.
    static_cast<void>(mm.page_entry(test_page(x86::kMaxCpus)));
    Trial trial{.mm = mm, .programs = programs, .frame = frame};
    run_on_all(trial);
    for (CpuId cpu = 0; cpu < cpu_count(); ++cpu) check(report, cpu, trial.findings[cpu], frame);
    if (isolated()) check_user_root(report, mm);
  }
}

void test_nmis_on_the_way(Report& report) {
  constexpr std::uint64_t kCalls = 400;
  constexpr std::uint64_t kEnough = 100;
  AddressSpace mm;
  UserPrograms programs{mm, other_cpus()};
  x86::Atomic<CpuId> running{cpu_count() - 1};
  x86::Atomic<std::uint64_t> wrong_answers{0};
  Kernel kernel{.mm = mm, .frame = 0};
  auto call_often = [&](CpuId cpu) {
    load(mm.core);
    const UserServices services{.self = &kernel, .call = Kernel::call};
    // What GS holds in user mode: an address that ends like that of this CPU's area. An NMI must
    // not take it for the kernel's.
    x86::write_msr(kMsrOtherGsBase, reinterpret_cast<VirtAddr>(&entry_area()) & 0xffff'ffff);
    // How many calls fit between two NMIs is the machine's, so NMIs are counted, too.
    const auto enough_nmis = [&] {
      return nmis[cpu].seen.load(std::memory_order_relaxed) > kEnough;
    };
    for (std::uint64_t i = 0; i < kCalls || !enough_nmis(); ++i) {
      if (programs.run(call_once, 7, services).value != 12) {
        wrong_answers.fetch_add(1, std::memory_order_relaxed);
      }
    }
    x86::write_msr(kMsrOtherGsBase, 0);
    load_kernel_mm();
    running.fetch_add(~CpuId{0}, std::memory_order_release);
  };
  for (Nmis& nmi : nmis) nmi.seen.store(0, std::memory_order_relaxed);
  set_nmi_handler(look_around);
  for (CpuId cpu = 1; cpu < cpu_count(); ++cpu) start_on(cpu, call_often);
  Random random{1};
  std::array<std::uint64_t, x86::kMaxCpus> sent{};
  while (running.load(std::memory_order_acquire) != 0) {
    for (CpuId cpu = 1; cpu < cpu_count(); ++cpu) {
      // One at a time, and a moment in between: a CPU that gets the next as it returns from the
      // last gets nowhere.
      if (nmis[cpu].seen.load(std::memory_order_relaxed) != sent[cpu]) continue;
      for (std::uint64_t pauses = random.below(8 + 64 / cpu_count()); pauses > 0; --pauses)
        x86::pause();
      x86::send_nmi(cpu);
      ++sent[cpu];
    }
  }
  for (CpuId cpu = 1; cpu < cpu_count(); ++cpu) wait_for(cpu);
  for (CpuId cpu = 1; cpu < cpu_count(); ++cpu) {
    wait_until([&] { return nmis[cpu].seen.load(std::memory_order_relaxed) == sent[cpu]; },
               "the last NMIs");
  }
  set_nmi_handler(nullptr);
  for (CpuId cpu = 1; cpu < cpu_count(); ++cpu) {
    report.expect(sent[cpu] > kEnough, "many NMIs arrived");
    report.expect(nmis[cpu].disordered.load(std::memory_order_relaxed) == 0,
                  "each NMI found the kernel's root, GS base and depth");
  }
  report.expect(wrong_answers.load(std::memory_order_relaxed) == 0, "system calls went on as ever");
}

}  // namespace shootdown::kernel
