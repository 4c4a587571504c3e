/* The tests of selftest.h. C99, no library. */
#include "kernel-glue/embed/selftest.h"

#define FLUSHES 50
#define TESTS 8

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
  volatile unsigned wrong;
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

static int interrupts_are_on(void) {
  uint64_t flags;
  __asm__ volatile("pushfq; popq %0" : "=r"(flags));
  return (flags >> 9 & 1) != 0;
}
static void interrupts_off(void) { __asm__ volatile("cli" ::: "memory"); }
static void interrupts_on(void) { __asm__ volatile("sti" ::: "memory"); }

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

static void load(struct run* run, sd_mm* space) {
  interrupts_off();
  sd_switch_mm(run->system, space);
  interrupts_on();
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
  return run->wrong == 0 ? PASSED : FAILED;
}

static enum result contexts(struct run* run) {
  run->why = "sd_hook_in_interrupt() is not 0 in a thread";
  if (sd_hook_in_interrupt() != 0) return FAILED;
  run->why = "interrupts are off in a thread";
  if (!interrupts_are_on()) return FAILED;
  sd_hook_preempt_disable();
  sd_hook_preempt_disable();
  sd_hook_preempt_enable();
  sd_hook_preempt_enable();
  run->why = "preemption turns interrupts off, and they stay off";
  if (!interrupts_are_on()) return FAILED;
  flush(run);
  run->why = "a flush leaves interrupts off";
  if (!interrupts_are_on()) return FAILED;
  interrupts_off();
  sd_switch_mm(run->system, run->port->space);
  run->why = "a switch with interrupts off turns them on";
  if (interrupts_are_on()) return FAILED;
  interrupts_on();
  return PASSED;
}

static void flush_often(void* argument) {
  struct run* run = (struct run*)argument;
  unsigned i;
  for (i = 0; i < FLUSHES; ++i) {
    sd_token token = sd_flush_mm(run->system, run->port->space);
    sd_spend(run->system, &token);
  }
}

/* Every CPU runs the space, so each flush of it is received by every other one, exactly once. */
static enum result delivery(struct run* run, unsigned senders) {
  const unsigned others = run->port->cpus - 1;
  uint64_t before;
  run->why = "there is one CPU";
  if (others == 0) return SKIPPED;
  if (!all_read(run, run->version)) {
    run->why = "a CPU does not read what is mapped";
    return FAILED;
  }
  before = counter(run, "remote_flush_received");
  if (senders == 1) {
    flush_often(run);
  } else {
    run->port->run_on_others(run->port->context, flush_often, run);
    senders = others;
  }
  run->why = "a CPU has missed a flush, or had one twice";
  return counter(run, "remote_flush_received") - before == (uint64_t)senders * FLUSHES * others
             ? PASSED
             : FAILED;
}

static enum result one_sender(struct run* run) { return delivery(run, 1); }
static enum result many_senders(struct run* run) { return delivery(run, 2); }

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
  return stale ? PASSED : SKIPPED;
}

static void go_lazy(void* argument) {
  struct run* run = (struct run*)argument;
  read_here(run);
  interrupts_off();
  sd_enter_lazy(run->system);
  interrupts_on();
}

static enum result lazy(struct run* run) {
  run->why = "there is one CPU";
  if (run->port->cpus < 2) return SKIPPED;
  run->port->run_on_others(run->port->context, go_lazy, run);
  remap(run);
  flush(run);
  run->why = "a CPU that was lazy during a flush reads the old page";
  return all_read(run, run->version) ? PASSED : FAILED;
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
  return PASSED;
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
  run.mapped = run.wrong = 0;
  run.version = 0;
  run.system = system;
  run.port = port;
  run.random = seed;
  run.rounds = rounds;
  say(&run, "KTAP version 1\n1..");
  say_number(&run, TESTS);
  say(&run, "\n");
  remap(&run);
  flush(&run);
  for (i = 0; i < TESTS; ++i) {
    const enum result result = tests[i].run(&run);
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
