// Two address spaces and a thread of each on every CPU. CPU 0 takes pages of both away and maps
// others at their addresses, again and again; the other CPUs switch between the threads, read, and
// are idle and lazy now and then. A read through a stale translation finds the poison of a free
// frame, or an older number than the thread has seen.
#include <array>
#include <atomic>

#include "examples/kernel_cpp/kernel.h"

namespace example {

namespace sd = shootdown;

constinit sd::System<Hal> machine;

namespace {

constexpr unsigned kRounds = 300;
constexpr unsigned kPages = 2;
constexpr std::uint64_t kAddress = 0x1000'0000'0000;

constinit std::array<Space, 2> spaces{};
constinit Hal::Atomic<bool> finished{false};

/// What each CPU counts. On lines of their own.
struct alignas(64) Seen {
  std::array<Hal::Atomic<std::uint64_t>, 2> newest{};  // of each space
  Hal::Atomic<std::uint64_t> reads{0};
  Hal::Atomic<std::uint64_t> stale{0};
  Hal::Atomic<bool> gone{false};
};
constinit std::array<Seen, kMaxCpus> seen{};

void switch_to(sd::Mm<Hal>& mm) {
  const sd::InterruptsOff<Hal> off;
  sd::switch_mm(machine, mm);
}

void add_one(Hal::Atomic<std::uint64_t>& number) {
  number.store(number.owner_load() + 1, std::memory_order_relaxed);
}

/// One thread's turn.
void read_pages(Seen& mine, unsigned which) {
  Hal::Atomic<std::uint64_t>& newest = mine.newest[which];
  for (unsigned page = 0; page < kPages; ++page) {
    const auto* word = reinterpret_cast<const volatile std::uint64_t*>(kAddress + page * kPage);
    const std::uint64_t value = *word;  // faults until there is a page
    add_one(mine.reads);
    if (value < newest.owner_load() || value > kRounds) {
      add_one(mine.stale);
    } else if (value > newest.owner_load()) {
      newest.store(value, std::memory_order_relaxed);
    }
  }
}

/// Until each CPU has read the number, so that its translation is cached; without flushes it may
/// never do.
void wait_for_readers(unsigned which, std::uint64_t number) {
  for (CpuId cpu = 1; cpu < cpu_count; ++cpu) {
    const Hal::Atomic<std::uint64_t>& newest = seen[cpu].newest[which];
    for (unsigned i = 0; i < 2000 && newest.load(std::memory_order_relaxed) < number; ++i) {
      Hal::pause();
    }
  }
}

void map_number(Space& space, unsigned page, std::uint64_t number) {
  const std::uint64_t frame = allocate_frame();
  *static_cast<volatile std::uint64_t*>(at(frame)) = number;
  space.map(kAddress + page * kPage, frame);
}

void map_numbers(Space& space, std::uint64_t number) {
  for (unsigned page = 0; page < kPages; ++page) map_number(space, page, number);
}

void replace_pages() {
  for (Space& space : spaces) map_numbers(space, 0);
  for (std::uint64_t number = 1; number <= kRounds; ++number) {
    const unsigned which = number / 8 % 2;
    if (number % 8 == 3 && !flush_is_left_out) {
      spaces[which].unmap_table(kAddress);
    } else {
      spaces[which].unmap(kAddress, kPages);
    }
    map_numbers(spaces[which], number);
    wait_for_readers(which, number);
  }
}

template <class Read>
std::uint64_t sum(Read&& read) {
  std::uint64_t total = 0;
  for (const Seen& cpu : seen) total += read(cpu);
  return total;
}

void report(const char* name, std::uint64_t number) {
  print(" ");
  print(name);
  print("=");
  print(number);
}

/// What stands behind the word, or null.
const char* find(const char* options, const char* word) {
  for (; *options != '\0'; ++options) {
    const char* a = options;
    const char* b = word;
    for (; *b != '\0' && *a == *b; ++a) ++b;
    if (*b == '\0') return a;
  }
  return nullptr;
}

void initialize_console() {
  namespace x86 = shootdown::x86;
  x86::out8(0x3fb, 0x80);
  x86::out8(0x3f8, 1);  // 115,200 baud
  x86::out8(0x3f9, 0);
  x86::out8(0x3fb, 3);  // 8 bits
  x86::out8(0x3fa, 7);
}

bool report_end() {
  const std::uint64_t stale =
      sum([](const Seen& cpu) { return cpu.stale.load(std::memory_order_relaxed); });
  print("#");
  report("cpus", cpu_count);
  report("reads", sum([](const Seen& cpu) { return cpu.reads.load(std::memory_order_relaxed); }));
  report("stale", stale);
  const sd::Counters counters = sd::sum_counters(machine);
  for (const sd::CounterName& counter : sd::kCounterNames) {
    report(counter.name, counters.*counter.field);
  }
  print("\n");
  print(stale == 0 ? "ok: no stale read\n" : "not ok: stale reads\n");
  return stale == 0;
}

}  // namespace

void print(const char* text) {
  for (; *text != '\0'; ++text) {
    while ((shootdown::x86::in8(0x3fd) & 0x20) == 0) Hal::pause();
    shootdown::x86::out8(0x3f8, static_cast<std::uint8_t>(*text));
  }
}

void print(std::uint64_t number) {
  char digits[21]{};
  unsigned place = 20;
  do {
    digits[--place] = static_cast<char>('0' + number % 10);
  } while ((number /= 10) != 0);
  print(digits + place);
}

void stop(bool success) {
  Hal::disable_interrupts();
  while ((shootdown::x86::in8(0x3fd) & 0x40) == 0) Hal::pause();
  for (const char* c = success ? "D" : "Shutdown"; *c != '\0'; ++c) {
    shootdown::x86::out8(0x8900, static_cast<std::uint8_t>(*c));
  }
  for (;;) asm volatile("hlt");
}

void die(const char* what) {
  static constinit Hal::Atomic<bool> dying{false};
  if (dying.exchange(true, std::memory_order_acq_rel)) {
    for (;;) asm volatile("cli; hlt");
  }
  print("FATAL: ");
  print(what);
  print("\n");
  stop(false);
}

void run_other_cpu() {
  Seen& mine = seen[Hal::this_cpu()];
  for (unsigned turn = 0; !finished.load(std::memory_order_acquire); ++turn) {
    // Some turns in one space, so that its translations are used again where a switch drops them.
    const unsigned which = turn / 32 % 2;
    switch_to(spaces[which].mm);
    read_pages(mine, which);
    if (turn % 8 == 5) {  // idle for a while: flushes that free no table spare this CPU
      const sd::InterruptsOff<Hal> off;
      sd::enter_lazy_tlb(machine);
    }
  }
  Hal::disable_interrupts();
  sd::take_cpu_offline(machine);
  mine.gone.store(true, std::memory_order_release);
  for (;;) asm volatile("hlt");
}

}  // namespace example

/// `information` is what GRUB has left: the command line's address is its fifth word.
extern "C" void kernel_main(std::uint32_t information) {
  using namespace example;
  const auto* options =
      static_cast<const char*>(at(static_cast<const std::uint32_t*>(at(information))[4]));
  const char* cpus = find(options, "cpus=");
  flush_is_left_out = find(options, "no-flush") != nullptr;
  initialize_console();
  print("shootdown example kernel in C++\n");
  initialize_memory();
  start_this_cpu(0);
  for (Space& space : spaces) space.initialize();
  start_other_cpus(cpus == nullptr ? 4 : static_cast<CpuId>(*cpus - '0'));
  replace_pages();
  finished.store(true, std::memory_order_release);
  for (CpuId cpu = 1; cpu < cpu_count; ++cpu) {
    while (!seen[cpu].gone.load(std::memory_order_acquire)) Hal::pause();
  }
  for (Space& space : spaces) {
    space.unmap_table(kAddress);
    space.retire();
  }
  stop(report_end());
}
