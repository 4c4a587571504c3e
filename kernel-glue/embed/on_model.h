/* Memory-management code of a kernel on the modelled machine: what it gives, and what it is given.
 *
 *   bazel run //kernel-glue/embed:try -- --source mm.c
 *
 * compiles the code with SD_ON_MODEL defined and runs it under every interleaving that a search
 * comes to. The code is C or C++ without a library; it has no instructions of its own (asm),
 * reaches physical memory by kit_at only, and shares between CPUs its variables and the frames.
 * "Check a port on the host" in README.md shows an example. */
#pragma once

/* Types and names as C has them: NOLINTBEGIN(modernize-use-using,readability-identifier-naming) */

#include "kernel-glue/embed/shootdown.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- What the code gives. `space` is its own object, which the kit never looks into.
 *
 * The kit initialises the system, brings CPUs online, switches between spaces, makes CPUs lazy, and
 * reads and writes pages. It asks nothing twice for one page at a time, as a kernel does that holds
 * a lock of the address range: kit_map is for a page that is not mapped, the others for one that
 * is. */

/* The one object of its type. */
sd_system* kit_system(void);
/* A new space: sd_mm_init with a top table whose upper half is the kernel's, see kit_kernel_root.
 * Called while only one CPU runs. */
void* kit_space_create(void);
sd_mm* kit_space_mm(void* space);
/* From here on `address` maps `frame`, present and writable. */
void kit_map(void* space, uint64_t address, uint64_t frame);
/* When it returns no CPU can reach the page through the address, and its frame went to
 * kit_free_frame. */
void kit_unmap(void* space, uint64_t address);

/* These may be left out; then no program has the operation. */

/* The same for all that is mapped in the 2 MiB around `address`, and for their page table. */
void kit_unmap_table(void* space, uint64_t address);
/* When it returns no CPU can store to the page; and: it can again. */
void kit_protect(void* space, uint64_t address);
void kit_unprotect(void* space, uint64_t address);

/* ---- What it is given */

/* The physical address of 4 KiB of zeros; 0 if there are none. The kit sees by the entry that leads
 * to it first whether it is a table or a page. */
uint64_t kit_allocate_frame(void);
/* A table or a page that nothing can reach any more: here the oracles judge whether that is true.
 */
void kit_free_frame(uint64_t frame);
/* Where the code finds the word or byte of this physical address. */
void* kit_at(uint64_t physical);
/* The top table of the kernel's own space; entries 256 to 511 go into each space. */
uint64_t kit_kernel_root(void);

/* In loops that wait. */
void kit_pause(void);
unsigned kit_this_cpu(void);
/* Switches interrupts off; and back to what they were. */
uint64_t kit_irq_save(void);
void kit_irq_restore(uint64_t before);
/* Something is wrong: ends the execution, and is told as what was found. */
__attribute__((noreturn)) void kit_die(const char* what);

#ifdef __cplusplus
}
#endif
/* NOLINTEND(modernize-use-using,readability-identifier-naming) */
