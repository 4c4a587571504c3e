/* The example kernel: what its files know of each other. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernel-glue/embed/shootdown.h"

#define PAGE 4096ULL
#define PRESENT 1ULL
#define WRITABLE 2ULL
#define FRAME 0x000ffffffffff000ULL

/* All physical memory below 1 GiB is mapped here by boot.S. */
#define DIRECT_MAP 0xffff800000000000ULL
#define CALL_FUNCTION_VECTOR 0xf0

/* ---- main.c */

extern sd_system machine;

void print(const char* text);
void print_number(uint64_t number);
/* Ends the emulator, with success or not. */
__attribute__((noreturn)) void stop(int success);
__attribute__((noreturn)) void die(const char* what);
/* Called by cpu.c on each CPU but the first, when it is online. */
__attribute__((noreturn)) void run_other_cpu(void);

/* ---- selftest_port.c: option `selftest` */

struct space;
/* Returns how many tests have failed. On CPU 0, while the others serve its jobs. */
unsigned run_selftest(struct space* space, uint64_t address);
__attribute__((noreturn)) void serve_jobs(void);

/* ---- cpu.c */

/* What GS points to. Written by its own CPU only. */
struct cpu {
  uint32_t number;
  uint32_t interrupt_depth; /* handlers that it is in */
};

extern uint32_t cpu_count;

uint32_t this_cpu(void);
/* Descriptors, interrupts, APIC, CR4 and the library, on the CPU that calls it. Interrupts are on
 * afterwards. */
void start_this_cpu(uint32_t number);
/* Starts CPUs 1 to count - 1. */
void start_other_cpus(uint32_t count);
void switch_to(sd_mm* mm);

/* The top table that boot.S has made, by its physical address: the kernel's half. */
uint64_t kernel_root(void);

/* The two functions of the hardware that memory.c uses. On the modelled machine on_model.c has
 * them, and kernel_root, allocate_frame and free_frame. */
#ifdef SD_ON_MODEL
void pause(void);
void* at(uint64_t physical);
#else
static inline void pause(void) { __asm__ volatile("pause" ::: "memory"); }
static inline void* at(uint64_t physical) { return (void*)(DIRECT_MAP + physical); }
#endif

/* A spin lock that is held with interrupts on, as locks of memory managers are. The library is
 * never called while one is held: a CPU that waits for it could not answer if its interrupts were
 * off. */
static inline void lock(int* word) {
  while (__atomic_exchange_n(word, 1, __ATOMIC_ACQUIRE)) pause();
}
static inline void unlock(int* word) { __atomic_store_n(word, 0, __ATOMIC_RELEASE); }

static inline uint64_t irq_save(void) {
  uint64_t flags;
  __asm__ volatile("pushfq; popq %0; cli" : "=r"(flags)::"memory");
  return flags;
}
static inline void irq_restore(uint64_t flags) {
  if (flags & 0x200) __asm__ volatile("sti" ::: "memory");
}
static inline void out8(uint16_t port, uint8_t value) {
  __asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port));
}
static inline uint8_t in8(uint16_t port) {
  uint8_t value;
  __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}

/* ---- frames.c, memory.c: an allocator of frames, and address spaces */

struct space {
  sd_mm mm; /* the library's part of it */
  uint64_t root;
  int lock; /* of the page tables */
};

/* With this the flush is left out: the negative control. */
extern int flush_is_left_out;

void memory_init(void);
uint64_t allocate_frame(void); /* zeroed */
void free_frame(uint64_t frame);

void space_init(struct space* space);
void map_page(struct space* space, uint64_t address, uint64_t frame);
/* The page's frame is free when this returns. */
void unmap_page(struct space* space, uint64_t address);
/* The same for the page table of the 2 MiB around `address`, and all that it maps. */
void unmap_table(struct space* space, uint64_t address);
/* Gives back what is left of a space that no CPU runs. */
void space_destroy(struct space* space);
