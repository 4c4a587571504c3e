/* An allocator of frames: a ring, so that a frame stays free for a while and its poison can be
 * seen.
 */
#include "examples/kernel_c/kernel.h"

#define FIRST_FRAME 0x1000000ULL /* behind the image */
#define FRAMES 1024
#define POISON 0xdeadULL

static uint64_t ring[FRAMES];
static unsigned first_free, free_frames;
static int frames_lock;

void memory_init(void) {
  for (unsigned i = 0; i < FRAMES; ++i) ring[i] = FIRST_FRAME + i * PAGE;
  free_frames = FRAMES;
}

static void fill(uint64_t frame, uint64_t value) {
  uint64_t* words = at(frame);
  for (unsigned i = 0; i < PAGE / 8; ++i) words[i] = value;
}

uint64_t allocate_frame(void) {
  lock(&frames_lock);
  if (free_frames == 0) die("out of memory");
  uint64_t frame = ring[first_free];
  first_free = (first_free + 1) % FRAMES;
  --free_frames;
  unlock(&frames_lock);
  fill(frame, 0);
  return frame;
}

void free_frame(uint64_t frame) {
  fill(frame, POISON);
  lock(&frames_lock);
  ring[(first_free + free_frames) % FRAMES] = frame;
  ++free_frames;
  unlock(&frames_lock);
}
