/* memory.c on the modelled machine (kernel-glue/embed/README.md, "Check a port on the host"):
 *   bazel run //kernel-glue/embed:try -- --source examples/kernel_c/memory.c \
 *     --source examples/kernel_c/on_model.c */
#include "kernel-glue/embed/on_model.h"

#include "examples/kernel_c/kernel.h"

sd_system machine;

/* What memory.c asks of the rest of the kernel. */
uint64_t allocate_frame(void) { return kit_allocate_frame(); }
void free_frame(uint64_t frame) { kit_free_frame(frame); }
uint64_t kernel_root(void) { return kit_kernel_root(); }
void* at(uint64_t physical) { return kit_at(physical); }
void pause(void) { kit_pause(); }

/* What the kit asks of memory.c. */
sd_system* kit_system(void) { return &machine; }
void* kit_space_create(void) {
  static struct space spaces[8];
  static unsigned made;
  struct space* space = &spaces[made++];
  space_init(space);
  return space;
}
sd_mm* kit_space_mm(void* space) { return &((struct space*)space)->mm; }
void kit_map(void* space, uint64_t address, uint64_t frame) { map_page(space, address, frame); }
void kit_unmap(void* space, uint64_t address) { unmap_page(space, address); }
void kit_unmap_table(void* space, uint64_t address) { unmap_table(space, address); }
