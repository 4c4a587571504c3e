/* The conformance tests of kernel-glue/embed/selftest.h, on this kernel. */
#include "examples/kernel_c/kernel.h"
#include "kernel-glue/embed/selftest.h"

#define SEED 1
#define ROUNDS 200

/* A job for each CPU: CPU 0 writes it, the CPU clears `work` when it is done. */
static struct {
  void (*volatile work)(void* argument);
  void* volatile argument;
} jobs[SD_MAX_CPUS];

void serve_jobs(void) {
  for (;;) {
    void (*work)(void*) = __atomic_load_n(&jobs[this_cpu()].work, __ATOMIC_ACQUIRE);
    if (work == NULL) {
      pause();
      continue;
    }
    work(jobs[this_cpu()].argument);
    __atomic_store_n(&jobs[this_cpu()].work, NULL, __ATOMIC_RELEASE);
  }
}

static void start(unsigned cpu, void (*work)(void*), void* argument) {
  jobs[cpu].argument = argument;
  __atomic_store_n(&jobs[cpu].work, work, __ATOMIC_RELEASE);
}
static void wait_for(unsigned cpu) {
  while (__atomic_load_n(&jobs[cpu].work, __ATOMIC_ACQUIRE) != NULL) pause();
}

static void run_on(void* context, unsigned cpu, void (*work)(void*), void* argument) {
  (void)context;
  start(cpu, work, argument);
  wait_for(cpu);
}
static void run_on_others(void* context, void (*work)(void*), void* argument) {
  (void)context;
  for (unsigned cpu = 1; cpu < cpu_count; ++cpu) start(cpu, work, argument);
  for (unsigned cpu = 1; cpu < cpu_count; ++cpu) wait_for(cpu);
}
static void print_line(void* context, const char* text) {
  (void)context;
  print(text);
}
static void set_entry(void* space, uint64_t address, uint64_t frame) {
  map_page(space, address, frame);
}
static void* frame_at(void* context, uint64_t frame) {
  (void)context;
  return at(frame);
}

unsigned run_selftest(struct space* space, uint64_t address) {
  const sd_selftest_port port = {.context = space,
                                 .cpus = cpu_count,
                                 .space = &space->mm,
                                 .address = address,
                                 .frames = {allocate_frame(), allocate_frame()},
                                 .print = print_line,
                                 .run_on = run_on,
                                 .run_on_others = run_on_others,
                                 .set_entry = set_entry,
                                 .at = frame_at};
  map_page(space, address, port.frames[0]);
  switch_to(&space->mm);
  return sd_selftest(&machine, &port, SEED, ROUNDS);
}
