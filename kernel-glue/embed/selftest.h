/* Is this port right? Tests that run inside the kernel, over its own hooks and page tables, and
 * tell the result as KTAP.
 *
 *   1 the numbers of CPUs          5 a remap is seen by every CPU
 *   2 interrupts and preemption    6 a CPU that was lazy sees it, too
 *   3 each CPU is interrupted      7 a switch keeps what it may keep
 *   4 ... by two at the same time  8 stress: random CPUs remap, all read
 *
 * Tests 5 to 8 read memory through translations that are made stale on purpose. Test 5 has the
 * negative control: the same without the flush must show old contents somewhere, or it proves
 * nothing on this machine, says SKIP, and so do 6 and 8. Not tested: the kernel's half, page tables
 * that go, batches, temporary spaces, isolation, CPUs that go offline, interrupts that come too
 * often.
 */
#pragma once

/* Types and names as C has them: NOLINTBEGIN(modernize-use-using,readability-identifier-naming) */

#include "kernel-glue/embed/shootdown.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What the tests ask of the kernel. `context` is passed back to each function. */
typedef struct sd_selftest_port {
  void* context;
  unsigned cpus; /* that are online, 0 to cpus - 1; the tests run on one of them */
  /* A user address of `space` that nothing else uses, with its page tables in place, and two free
   * frames, which are mapped there in turn. */
  sd_mm* space;
  uint64_t address;
  uint64_t frames[2];
  /* A line for people and their tools. */
  void (*print)(void* context, const char* text);
  /* Runs `work` on another CPU, in a thread with interrupts on, and returns when it is over. */
  void (*run_on)(void* context, unsigned cpu, void (*work)(void* argument), void* argument);
  /* The same on every other CPU at once; returns when all are over. */
  void (*run_on_others)(void* context, void (*work)(void* argument), void* argument);
  /* Makes the entry of `address` name the frame, present and writable, and flushes nothing. */
  void (*set_entry)(void* context, uint64_t address, uint64_t frame);
  /* Where the kernel can write the frame. */
  void* (*at)(void* context, uint64_t frame);
} sd_selftest_port;

/* Runs the tests, the last one for so many rounds. Returns how many have failed.
 * Context: a thread with interrupts on that stays on its CPU, `space` loaded on it; the other CPUs
 * idle on any space, lazy or not, and flush nothing. */
unsigned sd_selftest(sd_system* system, const sd_selftest_port* port, uint64_t seed,
                     unsigned rounds);

#ifdef __cplusplus
}
#endif

/* NOLINTEND(modernize-use-using,readability-identifier-naming) */
