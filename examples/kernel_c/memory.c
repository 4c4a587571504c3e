/* Page tables, and the three steps of each removal: unhook, flush, free. */
#include "examples/kernel_c/kernel.h"

int flush_is_left_out;

static uint64_t* entry_in(uint64_t table, uint64_t address, unsigned level) {
  return (uint64_t*)at(table) + (address >> (3 + 9 * level) & 511);
}

/* Entries are read by other CPUs' page walks at any time, so they change by one store. */
static void set(uint64_t* entry, uint64_t value) {
  __atomic_store_n(entry, value, __ATOMIC_RELEASE);
}
/* A locked instruction: the processor may set accessed and dirty bits until the moment it is gone.
 */
static uint64_t take(uint64_t* entry) { return __atomic_exchange_n(entry, 0, __ATOMIC_SEQ_CST); }

/* The entry for `address` at `level`, or NULL if a table on the way is missing and not to be made.
 */
static uint64_t* find(struct space* space, uint64_t address, unsigned level, int make) {
  uint64_t table = space->root;
  for (unsigned at_level = 4; at_level > level; --at_level) {
    uint64_t* entry = entry_in(table, address, at_level);
    if (!(*entry & PRESENT)) {
      if (!make) return NULL;
      set(entry, allocate_frame() | PRESENT | WRITABLE);
    }
    table = *entry & FRAME;
  }
  return entry_in(table, address, level);
}

void space_init(struct space* space) {
  space->root = allocate_frame();
  space->lock = 0;
  /* Every space has the kernel's half. */
  for (unsigned i = 256; i < 512; ++i) {
    ((uint64_t*)at(space->root))[i] = ((uint64_t*)at(kernel_root()))[i];
  }
  sd_mm_init(&machine, &space->mm, space->root, 0);
}

void map_page(struct space* space, uint64_t address, uint64_t frame) {
  lock(&space->lock);
  set(find(space, address, 1, 1), frame | PRESENT | WRITABLE);
  unlock(&space->lock);
  /* An entry that was not present is in no TLB: nothing to flush. */
}

void unmap_page(struct space* space, uint64_t address) {
  lock(&space->lock);
  uint64_t* entry = find(space, address, 1, 0);
  uint64_t old = entry != NULL ? take(entry) : 0;
  unlock(&space->lock);
  if (!(old & PRESENT)) return;
  if (!flush_is_left_out) {
    sd_token token = sd_flush_page(&machine, &space->mm, address);
    sd_require(&machine, &token, &space->mm, SD_DATA);
  }
  free_frame(old & FRAME);
}

void unmap_table(struct space* space, uint64_t address) {
  const uint64_t start = address & ~0x1fffffULL;
  lock(&space->lock);
  uint64_t* entry = find(space, address, 2, 0);
  uint64_t old = entry != NULL ? take(entry) : 0;
  unlock(&space->lock);
  if (!(old & PRESENT)) return;
  if (!flush_is_left_out) {
    sd_token token = sd_flush_freed_tables(&machine, &space->mm, start, start + 0x200000, 12);
    sd_token walked = sd_exclude_walkers(&machine, &token);
    sd_require(&machine, &walked, &space->mm, SD_DATA | SD_TABLES);
  }
  for (unsigned i = 0; i < 512; ++i) {
    uint64_t page = ((uint64_t*)at(old & FRAME))[i];
    if (page & PRESENT) free_frame(page & FRAME);
  }
  free_frame(old & FRAME);
}

void space_destroy(struct space* space) {
  sd_token token = sd_retire_mm(&machine, &space->mm);
  sd_require(&machine, &token, &space->mm, SD_ROOT);
  /* The tables above the last one are still there: a walk frees them in a kernel that needs it. */
  free_frame(space->root);
}
