/* Page tables behind a lock of loads and stores only (Peterson's), whose stores may wait in a store
 * buffer: right where memory is sequentially consistent, and wrong on x86. Two CPUs. */
#include "kernel-glue/embed/on_model.h"

static sd_system machine;
static struct {
  sd_mm mm;
  uint64_t root;
} spaces[8];
static unsigned made;
static int wants[2], turn, inside;

static void enter(unsigned self) {
  __atomic_store_n(&wants[self], 1, __ATOMIC_RELEASE);
  __atomic_store_n(&turn, (int)(1 - self), __ATOMIC_RELEASE);
  while (__atomic_load_n(&wants[1 - self], __ATOMIC_ACQUIRE) &&
         __atomic_load_n(&turn, __ATOMIC_ACQUIRE) == (int)(1 - self)) {
    kit_pause();
  }
  if (inside++ != 0) kit_die("two CPUs are inside");
}

static void leave(unsigned self) {
  --inside;
  __atomic_store_n(&wants[self], 0, __ATOMIC_RELEASE);
}

static uint64_t* entry(uint64_t root, uint64_t address) {
  uint64_t table = root;
  for (unsigned level = 4; level > 1; --level) {
    uint64_t* next = (uint64_t*)kit_at(table) + (address >> (3 + 9 * level) & 511);
    if (!(*next & 1)) *next = kit_allocate_frame() | 3;
    table = *next & 0x000ffffffffff000;
  }
  return (uint64_t*)kit_at(table) + (address >> 12 & 511);
}

sd_system* kit_system(void) { return &machine; }
void* kit_space_create(void) {
  const unsigned number = made++;
  spaces[number].root = kit_allocate_frame();
  __builtin_memcpy((uint64_t*)kit_at(spaces[number].root) + 256,
                   (uint64_t*)kit_at(kit_kernel_root()) + 256, 2048);
  sd_mm_init(&machine, &spaces[number].mm, spaces[number].root, 0);
  return &spaces[number];
}
sd_mm* kit_space_mm(void* space) { return space; }

void kit_map(void* space, uint64_t address, uint64_t frame) {
  const unsigned self = kit_this_cpu();
  enter(self);
  *entry(((uint64_t*)space)[sizeof(sd_mm) / 8], address) = frame | 3;
  leave(self);
}

void kit_unmap(void* space, uint64_t address) {
  const unsigned self = kit_this_cpu();
  enter(self);
  uint64_t* at = entry(((uint64_t*)space)[sizeof(sd_mm) / 8], address);
  const uint64_t old = *at;
  *at = 0;
  leave(self);
  sd_token token = sd_flush_page(&machine, space, address);
  sd_require(&machine, &token, space, SD_DATA);
  kit_free_frame(old & 0x000ffffffffff000);
}
