/* Shootdown for kernels in C (C99) or in C++ without templates: libshootdown.a.
 *
 * PORTING.md has the order in which a kernel boots, and what it decides first. "Context" of a
 * function is where it may be called; a wrong context that can be told ends in sd_hook_fail. All
 * functions are safe against interrupts and NMIs where the context permits them.
 *
 * Compile-time settings, the same for the library and for all code that includes this:
 *   SD_MAX_CPUS  8, 16, 64, 256, 1024 or 4096; CPU numbers are below it. 64 if it is not set.
 *   SD_DEBUG     tokens are numbered, and one that is used after its end is told.
 */
#pragma once

/* Types and names as C has them: NOLINTBEGIN(modernize-use-using,readability-identifier-naming) */

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef SD_MAX_CPUS
#define SD_MAX_CPUS 64
#endif

/* ---- Storage: the kernel's, zeroed, aligned as the types say. Its contents are the library's. */

#include "kernel-glue/embed/sizes.h"

#define SD_STORAGE(name, bytes)   \
  typedef struct name {           \
    uint64_t opaque[(bytes) / 8]; \
  } __attribute__((aligned(SD_ALIGNMENT(bytes)))) name
#define SD_ALIGNMENT(bytes) ((bytes) % 64 == 0 ? 64 : 8)

/* All state of one multiprocessor. One for each kernel, in .bss. */
SD_STORAGE(sd_system, SD_SYSTEM_BYTES);
/* One address space: a member of the kernel's own object. */
SD_STORAGE(sd_mm, SD_MM_BYTES);
/* Pages of several address spaces that are unmapped now and flushed together. On a stack. */
SD_STORAGE(sd_batch, SD_BATCH_BYTES);
/* A flush that was submitted, until its end. */
SD_STORAGE(sd_pending, SD_PENDING_BYTES);
/* A temporary address space in use. On a stack. */
SD_STORAGE(sd_temporary, SD_TEMPORARY_BYTES);
/* With page-table isolation: what one CPU needs while a user root is loaded. The only object here
 * that user roots map. */
SD_STORAGE(sd_entry_block, SD_ENTRY_BLOCK_BYTES);

#define SD_MUST_USE __attribute__((warn_unused_result))

/* ---- Configuration: fixed by sd_init */

typedef struct sd_config {
  /* Filled in by SD_CONFIG; sd_init refuses a kernel that was compiled with another header. */
  uint32_t version;
  uint32_t bytes;

  /* The processor, as CR4 and CPUID of every CPU say. */
  uint8_t pcid;                  /* CR4.PCIDE is on */
  uint8_t invpcid;               /* INVPCID exists */
  uint8_t global_pages;          /* CR4.PGE is on and the kernel's entries have the bit G */
  uint8_t invlpg_leaves_globals; /* the processor has this erratum of INVLPG with PCIDs */

  uint8_t isolation;             /* page-table isolation: user mode has roots of its own */
  uint8_t defer_user_pages;      /* with it: user pages are flushed on the way to user mode */
  uint8_t early_acknowledgement; /* sd_flush_early returns before targets have flushed */
  uint8_t masks_kept_lazily;     /* a switch leaves the CPU in the old mask; a flush takes it out */
  uint8_t lazy_test_up_front;    /* laziness is tested for all targets first */
  uint8_t targets_by_loaded_mm;  /* CPUs that run another address space are spared */
  uint8_t serial;                /* local and remote TLBs are flushed one after the other */
  uint8_t broadcast;             /* INVLPGB and TLBSYNC exist and are used */

  uint32_t trim_interval;       /* with masks_kept_lazily: flushes between two trims */
  uint32_t ceiling_strides;     /* more than so many pages are flushed as the whole space */
  uint32_t broadcast_pages;     /* with broadcast: how many pages one INVLPGB can name */
  uint32_t broadcast_threshold; /* with broadcast: used for spaces on more CPUs than this */
  uint32_t global_asids;        /* with broadcast: PCIDs for such spaces, at most 2041 */
  uint16_t cpus;        /* how many CPUs there are, numbers being below it; 0: SD_MAX_CPUS */
  uint8_t closed_waits; /* flushes may begin with interrupts off: "Waiting", below */
  uint8_t reserved;
  uint64_t stall_limit; /* looks at an unanswered call before it is told; 0: never */
} sd_config;

#ifdef SD_DEBUG
#define SD_VERSION (0x10000u | SD_MAX_CPUS | 0x80000000u)
#else
#define SD_VERSION (0x10000u | SD_MAX_CPUS)
#endif

/* The usual configuration: sd_config config = SD_CONFIG; what the processor has, and whether kernel
 * pages are global, is the kernel's to say. */
/* clang-format off */
#define SD_CONFIG                                                                            \
  {SD_VERSION, sizeof(sd_config), 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 33, 1, 3, 2041, 0, \
   0, 0, 1u << 24}
/* clang-format on */

/* ---- Tokens: what is true after a flush
 *
 * A flush returns one, and code that gives memory back asks it: sd_require(system, &token, mm,
 * SD_DATA). A token says which space was flushed, and what of it no CPU can reach any more. */

enum sd_permits {
  SD_USER_RETURN = 1, /* no CPU will be in user mode with a stale translation; nothing may go yet */
  SD_DATA = 2,        /* data pages that were unmapped may go */
  SD_WALKED = 4,      /* page tables that were unhooked may go once software walks have ended */
  SD_TABLES = 8,      /* ... and these have: page tables may go */
  SD_ROOT = 16,       /* no CPU has the space loaded: its root may go */
  SD_KERNEL = 32      /* of the kernel's half, not of a space */
};

typedef struct sd_token {
  uint64_t covers;  /* of a space, a set of spaces, or the kernel */
  uint32_t permits; /* enum sd_permits */
  uint32_t number;  /* with SD_DEBUG */
} sd_token;

/* Stops by sd_hook_fail unless the token permits all of `what` for `mm`, or with SD_KERNEL for the
 * kernel's half, whose `mm` is NULL. A batch's token is right for every space that was added and
 * for one in 64 of the others. Context: any. */
void sd_require(sd_system* system, const sd_token* token, const sd_mm* mm, uint32_t what);
/* The token is of no use from here on: called when all is given back that it stands for. With
 * SD_DEBUG a copy that is used later is told, unless 255 flushes have come in between. */
void sd_spend(sd_system* system, sd_token* token);

/* ---- Boot, and CPUs that come and go */

/* Why no system can have this configuration, or NULL. */
const char* sd_config_refusal(const sd_config* config);
/* Context: once, on the boot CPU, before anything else here. `kernel_root` is the physical address
 * of the kernel's top page table. */
void sd_init(sd_system* system, const sd_config* config, uint64_t kernel_root);
/* This CPU takes part from now on; its TLB is emptied and the kernel's space is loaded. Context:
 * interrupts off; CR4 is what the configuration says. */
void sd_cpu_online(sd_system* system);
/* This CPU takes part no more. Context: interrupts off until it stops or comes back. */
void sd_cpu_offline(sd_system* system);
/* Changes bits of CR4 other than PCIDE, and flushes what that demands. Context: interrupts off. */
void sd_change_cr4(sd_system* system, uint64_t set, uint64_t clear);

/* ---- Address spaces */

/* Before the first switch to it. `user_root` is 0 without page-table isolation. Physical addresses
 * of page tables, without the low bits of CR3; no two spaces have one root. `*mm` is zeroed, or was
 * retired: a copy of another one is refused. */
__attribute__((unused)) static inline void sd_mm_init(sd_system* system, sd_mm* mm, uint64_t root,
                                                      uint64_t user_root);
/* The kernel's own space. */
sd_mm* sd_kernel_mm(sd_system* system);
/* Loads a space on this CPU. Context: interrupts off. */
void sd_switch_mm(sd_system* system, sd_mm* next);
/* This CPU will not use the user half of what is loaded for a while; flushes that free no tables
 * spare it. Ends with sd_switch_mm, also to the same space, before this CPU goes to user mode.
 * Context: interrupts or preemption off. */
void sd_enter_lazy(sd_system* system);
/* Loads the kernel's space, for idle states that lose the TLB. Context: interrupts off. */
void sd_leave_mm(sd_system* system);
/* Whether an NMI handler may touch user memory of `current`, the running task's space: 0 or 1; 0
 * for NULL, a thread without a space. Context: any. */
int sd_user_access_ok(sd_system* system, const sd_mm* current);
/* Loads a space for some kernel code, and then what was loaded before: a lazy CPU ends on the
 * kernel's space. Interrupts are off in between. No other CPU uses the space meanwhile. Context:
 * preemption off; the two calls on one CPU, in pairs. */
void sd_temporary_begin(sd_system* system, sd_temporary* place, sd_mm* mm);
void sd_temporary_end(sd_system* system, sd_temporary* place);

/* ---- Flushes: first the page tables are changed, then the flush, then memory is given back
 *
 * Ranges are [start, end) in bytes and are flushed in whole strides; `stride_shift` is the log2 of
 * the smallest page size that was mapped there (12, 21 or 30). An end of 0 is 2^64, and ~0 stands
 * for the whole space. A token speaks of the space and not of the range: what is given back under
 * it was unhooked before the flush, from that range. Context of all: a thread with interrupts on,
 * or off as "Waiting" says, no page-table lock held. */

SD_MUST_USE sd_token sd_flush_range(sd_system* system, sd_mm* mm, uint64_t start, uint64_t end,
                                    uint8_t stride_shift);
SD_MUST_USE sd_token sd_flush_page(sd_system* system, sd_mm* mm, uint64_t address);
SD_MUST_USE sd_token sd_flush_mm(sd_system* system, sd_mm* mm);
/* The same where page tables were unhooked, too. */
SD_MUST_USE sd_token sd_flush_freed_tables(sd_system* system, sd_mm* mm, uint64_t start,
                                           uint64_t end, uint8_t stride_shift);
/* Returns when no CPU will be in user mode with a stale translation. */
SD_MUST_USE sd_token sd_flush_early(sd_system* system, sd_mm* mm, uint64_t start, uint64_t end,
                                    uint8_t stride_shift);
/* The last flush of a space that no task runs. */
SD_MUST_USE sd_token sd_retire_mm(sd_system* system, sd_mm* mm);
/* Of the kernel's half, on every CPU. */
SD_MUST_USE sd_token sd_flush_kernel_range(sd_system* system, uint64_t start, uint64_t end);
/* Everything, on every CPU, kernel page tables that were unhooked included. */
SD_MUST_USE sd_token sd_flush_all(sd_system* system);
/* Waits until software that walks page tables with interrupts off has left them, and spends
 * `tables`, a token that permits SD_WALKED. */
SD_MUST_USE sd_token sd_exclude_walkers(sd_system* system, sd_token* tables);

/* Waiting. A flush waits for the CPUs that it asks. Two that ask each other answer each other by
 * the interrupt, and so a flush with interrupts off is refused, unless the configuration has
 * `closed_waits`: then it runs meanwhile what others ask of this CPU. That is right in a kernel in
 * which each loop with interrupts off that waits for another CPU, as for a lock, calls
 * sd_handle_interrupt in it. Interrupt handlers do not flush in either.
 *
 * A flush whose caller goes on: submitted, asked any number of times, completed. `*pending` is
 * zeroed at first, and free again when it is complete. A CPU has one on its way: its next flush
 * waits for it. Context of sd_submit_*: as of sd_flush_*. The space lives until the end. */
void sd_submit_range(sd_system* system, sd_pending* pending, sd_mm* mm, uint64_t start,
                     uint64_t end, uint8_t stride_shift);
/* The same where page tables were unhooked, too. */
void sd_submit_freed_tables(sd_system* system, sd_pending* pending, sd_mm* mm, uint64_t start,
                            uint64_t end, uint8_t stride_shift);
/* Whether each CPU has flushed: 0 or 1. Context: any, on any CPU, one at a time. */
int sd_is_done(sd_system* system, sd_pending* pending);
/* The token; waits if it is not done, and then the context is that of a flush. */
SD_MUST_USE sd_token sd_complete(sd_system* system, sd_pending* pending);

/* Batches: `*batch` is zeroed at first. sd_batch_add comes behind the change of the page table,
 * under its lock; what was changed may be given back after sd_batch_flush. */
void sd_batch_add(sd_system* system, sd_batch* batch, sd_mm* mm);
SD_MUST_USE sd_token sd_batch_flush(sd_system* system, sd_batch* batch);
/* Whether sd_batch_flush would ask no CPU: also where only spaces that no CPU runs were added. The
 * token is still to be had from the flush. */
int sd_batch_is_empty(const sd_batch* batch);
/* For code that promises that no stale entries of `mm` are left while batches may be on their way,
 * such as a protection or a mapping at the same place. Context: as a flush. */
void sd_batch_settle(sd_system* system, sd_mm* mm);

/* ---- Interrupts and the way to user mode */

/* The handler of the interrupt that sd_hook_send_interrupt sends. Context: interrupts off, the
 * interrupt is acknowledged. */
void sd_handle_interrupt(sd_system* system);

/* With page-table isolation, on every way to user mode and back; without it they do nothing. Each
 * CPU has a block, zeroed at first. Interrupts are off from the first to the second until user mode
 * runs, and from the entry to the third. User roots map the block, the stack, and the code of the
 * last four with all that it calls: of the library's text, or of what -ffunction-sections makes of
 * it. */
void sd_prepare_return_to_user(sd_system* system, sd_entry_block* block);
void sd_load_user_root(const sd_entry_block* block);
void sd_enter_from_user(sd_entry_block* block);
/* First and last thing of an NMI's handler. `held` is what the first has returned. */
SD_MUST_USE uint64_t sd_enter_nmi(const sd_entry_block* block);
void sd_leave_nmi(const sd_entry_block* block, uint64_t held);

/* ---- Counters: the sum over all CPUs. Context: any. */

/* The names in the order of the values, NULL behind the last. */
const char* sd_counter_name(unsigned index);
uint64_t sd_counter(const sd_system* system, unsigned index);

/* Behind sd_mm_init: `version` is that of the file which calls. */
void sd_mm_init_of(uint32_t version, sd_system* system, sd_mm* mm, uint64_t root,
                   uint64_t user_root);
__attribute__((unused)) static inline void sd_mm_init(sd_system* system, sd_mm* mm, uint64_t root,
                                                      uint64_t user_root) {
  sd_mm_init_of(SD_VERSION, system, mm, root, user_root);
}

/* ---- The seven hooks: what the kernel defines
 *
 * They must not call the library. They run on any CPU, with interrupts on or off; sd_hook_this_cpu
 * and sd_hook_fail in NMIs, too, whose handlers may call sd_enter_nmi, sd_leave_nmi,
 * sd_user_access_ok and sd_counter, and nothing else here. */

/* The number of this CPU, below SD_MAX_CPUS. Stable while preemption or interrupts are off. */
unsigned sd_hook_this_cpu(void);
/* In between the thread stays on its CPU. They nest; interrupts still arrive. A kernel that
 * preempts no kernel code leaves them empty. */
void sd_hook_preempt_disable(void);
void sd_hook_preempt_enable(void);
/* Not 0 in handlers of interrupts and NMIs. */
int sd_hook_in_interrupt(void);
/* Sends the interrupt to every CPU whose bit is set: CPU n is bit n % 64 of words[n / 64]. This CPU
 * is not among them. Stores before the call are visible to the targets already. */
void sd_hook_send_interrupt(const uint64_t* words, unsigned count);

typedef struct sd_unanswered {
  uint32_t sender;     /* waits for ... */
  uint32_t target;     /* ... which does not answer: interrupts off for long, or dead */
  uint64_t since, now; /* time-stamp counter */
  const char* what;
  uint64_t start, end; /* the range of a flush */
  int last;            /* it will not be told again */
} sd_unanswered;
/* Tells the operator. The sender goes on waiting. */
void sd_hook_unanswered(const sd_unanswered* report);

typedef struct sd_failure {
  const char* what; /* the promise that was broken */
  unsigned rule;    /* its number, R1 to R13 */
  const char* file; /* where in the library */
  unsigned line;
} sd_failure;
/* Tells the operator and stops the machine; must not return. */
void sd_hook_fail(const sd_failure* failure);

#ifdef __cplusplus
}
#endif
/* NOLINTEND(modernize-use-using,readability-identifier-naming) */
