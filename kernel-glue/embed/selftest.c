/* The tests of selftest.h. C99, no library. */
#include "kernel-glue/embed/selftest.h"

#define FLUSHES 50
#define TESTS 8
#define NO_CONTROL "no old page was seen without a flush, so a read of the new one proves nothing"

enum result { FAILED, PASSED, SKIPPED };

/* One run. What other CPUs write is indexed by their numbers. */
struct run {
  sd_system* system;
  const sd_selftest_port* port;
  uint64_t random;
  unsigned rounds;
  unsigned mapped;  /* which of the two frames is mapped */
  uint64_t version; /* what it holds */
  const char* why;  /* of the test that runs */
  int shows_stale;  /* this machine caches what it reads: without flushes old pages are seen */
  volatile unsigned wrong, deaf;
  unsigned here;              /* the CPU that runs the tests */
  volatile unsigned starting; /* CPUs that have yet to load the space */
  volatile unsigned flushing; /* CPUs whose flushes are on their way */
  volatile uint64_t found[SD_MAX_CPUS];
};

static void say(struct run* run, const char* text) { run->port->print(run->port->context, text); }

static void say_number(struct run* run, uint64_t number) {
  char digits[21];
  unsigned place = 20;
  digits[20] = '\0';
  do {
    digits[--place] = (char)('0' + number % 10);
    number /= 10;
  } while (number != 0);
  say(run, digits + place);
}

/* A multiplicative generator: the same seed gives the same rounds on every machine. */
static unsigned draw(struct run* run, unsigned below) {
  run->random = run->random * 6364136223846793005U + 1442695040888963407U;
  return (unsigned)(run->random >> 33) % below;
}

static uint64_t interrupt_flag(void) {
  uint64_t flags;
  __asm__ volatile("pushfq; popq %0" : "=r"(flags));
  return flags & 0x200;
}
static void interrupts_off(void) { __asm__ volatile("cli" ::: "memory"); }
static void interrupts_back(uint64_t flag) {
  if (flag != 0) __asm__ volatile("sti" ::: "memory");
}

static uint64_t counter(struct run* run, const char* name) {
  unsigned index = 0;
  for (; sd_counter_name(index) != 0; ++index) {
    const char* a = sd_counter_name(index);
    const char* b = name;
    while (*a != '\0' && *a == *b) {
      ++a;
      ++b;
    }
    if (*a == *b) return sd_counter(run->system, index);
  }
  return 0;
}

/* ---- Pages: the other frame comes to the address, with a higher number in it */

static void remap(struct run* run) {
  const uint64_t frame = run->port->frames[run->mapped ^ 1];
  volatile uint64_t* word = (volatile uint64_t*)run->port->at(run->port->context, frame);
  *word = ++run->version;
  run->mapped ^= 1;
  run->port->set_entry(run->port->context, run->port->address, frame);
}

static void flush(struct run* run) {
  sd_token token = sd_flush_page(run->system, run->port->space, run->port->address);
  sd_require(run->system, &token, run->port->space, SD_DATA);
  sd_spend(run->system, &token);
}

static uint64_t read_page(const struct run* run) {
  return *(const volatile uint64_t*)run->port->address;
}

/* Leaves the interrupt flag as it was: a CPU that never turns it on must not be helped. */
static void load(struct run* run, sd_mm* space) {
  const uint64_t flag = interrupt_flag();
  interrupts_off();
  sd_switch_mm(run->system, space);
  interrupts_back(flag);
}

static void read_here(void* argument) {
  struct run* run = (struct run*)argument;
  load(run, run->port->space);
  run->found[sd_hook_this_cpu()] = read_page(run);
}

/* Everywhere at once; whether every CPU reads the number. */
static int all_read(struct run* run, uint64_t number) {
  unsigned cpu;
  run->port->run_on_others(run->port->context, read_here, run);
  read_here(run);
  for (cpu = 0; cpu < run->port->cpus; ++cpu) {
    if (run->found[cpu] != number) return 0;
  }
  return 1;
}

/* ---- The tests */

static void check_number(void* argument) {
  struct run* run = (struct run*)argument;
  const unsigned number = sd_hook_this_cpu();
  unsigned i;
  if (number < SD_MAX_CPUS) run->found[number] += 1;
  for (i = 0; i < 1000; ++i) {
    if (sd_hook_this_cpu() != number) run->wrong += 1;
  }
  if (interrupt_flag() == 0 || sd_hook_in_interrupt() != 0) run->deaf += 1;
}

static enum result numbers(struct run* run) {
  unsigned cpu;
  const unsigned here = sd_hook_this_cpu();
  for (cpu = 0; cpu < run->port->cpus; ++cpu) run->found[cpu] = 0;
  for (cpu = 0; cpu < run->port->cpus; ++cpu) {
    if (cpu != here) {
      run->port->run_on(run->port->context, cpu, check_number, run);
    } else {
      check_number(run);
    }
    run->why = "a CPU has another number than the one by which it was called";
    if (run->found[cpu] != 1) return FAILED;
  }
  run->why = "the number of a CPU changes";
  if (run->wrong != 0) return FAILED;
  run->why = "a CPU runs threads with interrupts off, or takes them for handlers";
  return run->deaf == 0 ? PASSED : FAILED;
}

static enum result contexts(struct run* run) {
  run->why = "sd_hook_in_interrupt() is not 0 in a thread";
  if (sd_hook_in_interrupt() != 0) return FAILED;
  run->why = "interrupts are off in a thread";
  if (!interrupt_flag()) return FAILED;
  sd_hook_preempt_disable();
  sd_hook_preempt_disable();
  sd_hook_preempt_enable();
  sd_hook_preempt_enable();
  run->why = "preemption turns interrupts off, and they stay off";
  if (!interrupt_flag()) return FAILED;
  flush(run);
  run->why = "a flush leaves interrupts off";
  if (!interrupt_flag()) return FAILED;
  interrupts_off();
  sd_switch_mm(run->system, run->port->space);
  run->why = "a switch with interrupts off turns them on";
  if (interrupt_flag()) return FAILED;
  interrupts_back(0x200);
  return PASSED;
}

static void flush_often(struct run* run) {
  unsigned i;
  for (i = 0; i < FLUSHES; ++i) {
    sd_token token = sd_flush_mm(run->system, run->port->space);
    sd_spend(run->system, &token);
  }
}

/* The space stays loaded on each CPU until all flushes are over, also where an idle CPU would leave
 * it.
 */
static void take_part(struct run* run, int sends) {
  load(run, run->port->space);
  __atomic_sub_fetch(&run->starting, 1, __ATOMIC_SEQ_CST);
  while (__atomic_load_n(&run->starting, __ATOMIC_ACQUIRE) != 0) __asm__ volatile("pause");
  if (sends) flush_often(run);
  __atomic_sub_fetch(&run->flushing, 1, __ATOMIC_SEQ_CST);
  while (__atomic_load_n(&run->flushing, __ATOMIC_ACQUIRE) != 0) __asm__ volatile("pause");
}
static void one_sends(void* argument) {
  struct run* run = (struct run*)argument;
  const unsigned first = run->here == 0 ? 1 : 0;
  take_part(run, sd_hook_this_cpu() == first);
}
static void all_send(void* argument) { take_part((struct run*)argument, 1); }

/* Every CPU runs the space, this one too, so each flush of it is received by every other one,
 * exactly once. */
static enum result delivery(struct run* run, unsigned senders, void (*work)(void*)) {
  const unsigned others = run->port->cpus - 1;
  uint64_t before, broadcasts;
  run->why = "there is one CPU";
  if (others == 0) return SKIPPED;
  load(run, run->port->space);
  before = counter(run, "remote_flush_received");
  broadcasts = counter(run, "broadcasts");
  run->starting = run->flushing = others;
  run->port->run_on_others(run->port->context, work, run);
  run->why = "this space is flushed by hardware broadcast, and interrupts no CPU";
  if (counter(run, "broadcasts") != broadcasts) return SKIPPED;
  run->why = "a CPU has missed a flush, or had one twice";
  return counter(run, "remote_flush_received") - before == (uint64_t)senders * FLUSHES * others
             ? PASSED
             : FAILED;
}

static enum result one_sender(struct run* run) { return delivery(run, 1, one_sends); }
static enum result many_senders(struct run* run) {
  return delivery(run, run->port->cpus - 1, all_send);
}

static enum result remapped(struct run* run) {
  int stale;
  if (!all_read(run, run->version)) {
    run->why = "a CPU does not read what is mapped";
    return FAILED;
  }
  remap(run);
  stale = !all_read(run, run->version); /* the control */
  flush(run);
  run->why = "a CPU reads the old page after a flush";
  if (!all_read(run, run->version)) return FAILED;
  run->why = "without the flush no CPU has read the old page: this machine caches nothing";
  run->shows_stale = stale;
  return stale ? PASSED : SKIPPED;
}

static void go_lazy(void* argument) {
  struct run* run = (struct run*)argument;
  uint64_t flag;
  read_here(run);
  flag = interrupt_flag();
  interrupts_off();
  sd_enter_lazy(run->system);
  interrupts_back(flag);
}

static enum result lazy(struct run* run) {
  run->why = "there is one CPU";
  if (run->port->cpus < 2) return SKIPPED;
  run->port->run_on_others(run->port->context, go_lazy, run);
  remap(run);
  flush(run);
  run->why = "a CPU that was lazy during a flush reads the old page";
  if (!all_read(run, run->version)) return FAILED;
  run->why = NO_CONTROL;
  return run->shows_stale ? PASSED : SKIPPED;
}

static enum result kept(struct run* run) {
  uint64_t found;
  load(run, run->port->space);
  (void)read_page(run);
  remap(run);
  load(run, sd_kernel_mm(run->system));
  load(run, run->port->space);
  found = read_page(run);
  flush(run);
  run->why = "the page is neither the old one nor the new one";
  if (found != run->version && found != run->version - 1) return FAILED;
  run->why = "no PCIDs, or an emulator without them: a switch has dropped everything";
  if (found == run->version) return SKIPPED;
  run->why = "a CPU reads the old page after a flush";
  return read_page(run) == run->version ? PASSED : FAILED;
}

static void remap_here(void* argument) {
  struct run* run = (struct run*)argument;
  load(run, run->port->space);
  (void)read_page(run);
  remap(run);
  flush(run);
}

static enum result stress(struct run* run) {
  unsigned round;
  run->why = "a CPU reads an old page";
  for (round = 0; round < run->rounds; ++round) {
    const unsigned cpu = draw(run, run->port->cpus);
    const unsigned many = 1 + draw(run, 3);
    unsigned i;
    for (i = 0; i < many; ++i) {
      if (cpu == sd_hook_this_cpu()) {
        remap_here(run);
      } else {
        run->port->run_on(run->port->context, cpu, remap_here, run);
      }
    }
    if (draw(run, 4) == 0) run->port->run_on_others(run->port->context, go_lazy, run);
    if (!all_read(run, run->version)) return FAILED;
  }
  run->why = NO_CONTROL;
  return run->shows_stale ? PASSED : SKIPPED;
}

/* ---- All of them */

static const struct {
  const char* name;
  enum result (*run)(struct run* run);
} tests[TESTS] = {
    {"cpu numbers", numbers},       {"contexts", contexts}, {"one sender", one_sender},
    {"many senders", many_senders}, {"remap", remapped},    {"lazy cpus", lazy},
    {"kept across a switch", kept}, {"stress", stress},
};

unsigned sd_selftest(sd_system* system, const sd_selftest_port* port, uint64_t seed,
                     unsigned rounds) {
  static struct run run; /* too large for the stack of a small kernel */
  unsigned counts[3] = {0, 0, 0};
  unsigned i;
  run.mapped = run.wrong = run.deaf = 0;
  run.shows_stale = 0;
  run.here = sd_hook_this_cpu();
  run.version = 0;
  run.system = system;
  run.port = port;
  run.random = seed;
  run.rounds = rounds;
  if (port->cpus == 0 || run.here >= port->cpus) {
    say(&run, "Bail out! the port says that there are fewer CPUs than this one's number\n");
    return 1;
  }
  say(&run, "KTAP version 1\n1..");
  say_number(&run, TESTS);
  say(&run, "\n");
  remap(&run);
  flush(&run);
  for (i = 0; i < TESTS; ++i) {
    enum result result;
    say(&run, "# running ");
    say(&run, tests[i].name);
    say(&run, "\n");
    result = tests[i].run(&run);
    ++counts[result];
    say(&run, result == FAILED ? "not ok " : "ok ");
    say_number(&run, i + 1);
    say(&run, " ");
    say(&run, tests[i].name);
    if (result != PASSED) {
      say(&run, result == SKIPPED ? " # SKIP " : " # ");
      say(&run, run.why);
    }
    say(&run, "\n");
  }
  say(&run, "# totals: ");
  say_number(&run, counts[PASSED]);
  say(&run, " passed, ");
  say_number(&run, counts[FAILED]);
  say(&run, " failed, ");
  say_number(&run, counts[SKIPPED]);
  say(&run, " skipped\n");
  return counts[FAILED];
}
