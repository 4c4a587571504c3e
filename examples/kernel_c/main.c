/* One address space, a thread of it on every CPU. CPU 0 takes a page away and puts another one in
 * its place, again and again; the others read it. A read through a stale translation finds the
 * poison of a free frame, or an older number than the thread has seen already. */
#include "examples/kernel_c/kernel.h"

#define ROUNDS 300
#define TABLE_ROUNDS 50
#define ADDRESS 0x100000000000ULL

sd_system machine;

static struct space space;
static int tests_itself;
static volatile uint64_t round, finished;
static volatile uint64_t seen[SD_MAX_CPUS]; /* the newest number that each CPU has read */
static volatile uint64_t stale[SD_MAX_CPUS], reads[SD_MAX_CPUS], gone[SD_MAX_CPUS];

/* ---- Console and end */

/* The first serial port: 115,200 baud, 8 bits. */
static void console_init(void) {
  out8(0x3fb, 0x80);
  out8(0x3f8, 1);
  out8(0x3f9, 0);
  out8(0x3fb, 3);
  out8(0x3fa, 7);
}

void print(const char* text) {
  for (; *text != '\0'; ++text) {
    while (!(in8(0x3fd) & 0x20)) pause();
    out8(0x3f8, (uint8_t)*text);
  }
}

void print_number(uint64_t number) {
  char digits[21];
  unsigned at_digit = 20;
  digits[20] = '\0';
  do {
    digits[--at_digit] = (char)('0' + number % 10);
  } while ((number /= 10) != 0);
  print(digits + at_digit);
}

void stop(int success) {
  __asm__ volatile("cli");
  while (!(in8(0x3fd) & 0x40)) pause();
  for (const char* c = success ? "D" : "Shutdown"; *c != '\0'; ++c) out8(0x8900, (uint8_t)*c);
  for (;;) __asm__ volatile("hlt");
}

/* The first CPU that dies is heard; another one would write into its words. */
void die(const char* what) {
  static int dying;
  if (__atomic_exchange_n(&dying, 1, __ATOMIC_ACQ_REL)) {
    for (;;) __asm__ volatile("cli; hlt");
  }
  print("FATAL: ");
  print(what);
  print("\n");
  stop(0);
}

/* ---- The threads */

void run_other_cpu(void) {
  if (tests_itself) serve_jobs();
  const uint32_t cpu = this_cpu();
  const volatile uint64_t* page = (const volatile uint64_t*)ADDRESS;
  uint64_t newest = 0;
  switch_to(&space.mm);
  while (!finished) {
    const uint64_t value = *page; /* faults until there is a page */
    ++reads[cpu];
    if (value < newest || value > ROUNDS + TABLE_ROUNDS) {
      ++stale[cpu];
    } else {
      newest = value;
    }
    seen[cpu] = newest;
  }
  switch_to(sd_kernel_mm(&machine));
  (void)irq_save();
  sd_cpu_offline(&machine);
  gone[cpu] = 1;
  for (;;) __asm__ volatile("hlt");
}

/* Until every thread has read the number: then its translation is cached. Without flushes a thread
 * may never see it, so the wait has an end. */
static void wait_for_readers(uint64_t number) {
  for (uint32_t cpu = 1; cpu < cpu_count; ++cpu) {
    for (unsigned tries = 0; seen[cpu] < number && tries < 2000; ++tries) pause();
  }
}

static void replace_pages(void) {
  for (uint64_t number = 1; number <= ROUNDS + TABLE_ROUNDS; ++number) {
    const uint64_t frame = allocate_frame();
    *(volatile uint64_t*)at(frame) = number;
    map_page(&space, ADDRESS, frame);
    wait_for_readers(number);
    if (number == ROUNDS + TABLE_ROUNDS) break; /* the threads need one to end */
    if (number <= ROUNDS) {
      unmap_page(&space, ADDRESS);
    } else {
      unmap_table(&space, ADDRESS);
    }
  }
}

static uint64_t sum(const volatile uint64_t* of) {
  uint64_t total = 0;
  for (uint32_t cpu = 0; cpu < cpu_count; ++cpu) total += of[cpu];
  return total;
}

static void report(const char* name, uint64_t number) {
  print(" ");
  print(name);
  print("=");
  print_number(number);
}

/* ---- Boot */

/* What stands behind the word, or NULL. */
static const char* has(const char* options, const char* word) {
  for (; *options != '\0'; ++options) {
    const char *a = options, *b = word;
    while (*b != '\0' && *a == *b) ++a, ++b;
    if (*b == '\0') return a;
  }
  return NULL;
}

/* The digit behind the word, or the default. */
static uint32_t number_of(const char* options, const char* word, uint32_t number) {
  const char* found = has(options, word);
  return found == NULL ? number : (uint32_t)(*found - '0');
}

/* `information` is what GRUB has left: the command line's address is its fifth word. */
void kernel_main(uint32_t information) {
  const char* options = at(((const uint32_t*)at(information))[4]);
  const uint32_t cpus = number_of(options, "cpus=", 4);
  flush_is_left_out = has(options, "no-flush") != NULL;
  tests_itself = has(options, "selftest") != NULL;
  console_init();
  print("shootdown example kernel in C\n");
  memory_init();
  start_this_cpu(0);
  space_init(&space);
  start_other_cpus(cpus);
  if (tests_itself) stop(run_selftest(&space, ADDRESS) == 0);
  replace_pages();
  finished = 1;
  while (sum(gone) != cpus - 1) pause();
  unmap_table(&space, ADDRESS);
  space_destroy(&space);
  print("#");
  report("cpus", cpus);
  report("reads", sum(reads));
  report("stale", sum(stale));
  for (unsigned i = 0; sd_counter_name(i) != NULL; ++i) {
    report(sd_counter_name(i), sd_counter(&machine, i));
  }
  print("\n");
  print(sum(stale) == 0 ? "ok: no stale read\n" : "not ok: stale reads\n");
  stop(sum(stale) == 0);
}
