/* Small programs in plain C, as a kernel's code is compiled for the model. Each CPU's part is a
 * function of its own. */
#include "tests/ports/litmus_programs.h"

struct litmus_words litmus;

#define ONCE(place) (*(volatile __typeof__(place)*)&(place))

static void sb_0(void) {
  litmus.x = 1;
  litmus.seen[0] = litmus.y;
}
static void sb_1(void) {
  litmus.y = 1;
  litmus.seen[1] = litmus.x;
}
static void sb_once_0(void) {
  ONCE(litmus.x) = 1;
  litmus.seen[0] = ONCE(litmus.y);
}
static void sb_once_1(void) {
  ONCE(litmus.y) = 1;
  litmus.seen[1] = ONCE(litmus.x);
}
static void sb_fence_0(void) {
  litmus.x = 1;
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  litmus.seen[0] = litmus.y;
}
static void sb_fence_1(void) {
  litmus.y = 1;
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  litmus.seen[1] = litmus.x;
}
static void sb_locked_0(void) {
  litmus.x = 1;
  __atomic_fetch_add(&litmus.z, 1, __ATOMIC_SEQ_CST);
  litmus.seen[0] = litmus.y;
}
static void sb_locked_1(void) {
  litmus.y = 1;
  __atomic_fetch_add(&litmus.z, 1, __ATOMIC_SEQ_CST);
  litmus.seen[1] = litmus.x;
}
static void mp_0(void) {
  litmus.x = 1;
  litmus.y = 1;
}
static void mp_1(void) {
  litmus.seen[0] = litmus.y;
  litmus.seen[1] = litmus.x;
}
static void lb_0(void) {
  litmus.seen[0] = litmus.x;
  litmus.y = 1;
}
static void lb_1(void) {
  litmus.seen[1] = litmus.y;
  litmus.x = 1;
}
/* Its own store is seen at once, and the other's store to the same word comes between. */
static void n6_0(void) {
  litmus.x = 1;
  litmus.seen[0] = ONCE(litmus.x);
  litmus.seen[1] = litmus.y;
}
static void n6_1(void) {
  litmus.y = 1;
  litmus.x = 2;
}
/* A byte of a longer own store. */
static void narrow_0(void) {
  litmus.x = 0x0201;
  litmus.seen[0] = ONCE(((unsigned char*)&litmus.x)[1]);
  litmus.seen[1] = litmus.y;
}
/* A word whose one byte was stored: that has to leave the buffer first. */
static void wide_0(void) {
  ((unsigned char*)&litmus.x)[1] = 2;
  litmus.seen[0] = ONCE(litmus.x);
  litmus.seen[1] = litmus.y;
}
static void narrow_1(void) {
  litmus.y = 1;
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  litmus.seen[2] = litmus.x;
}
/* Two bytes of one word, by different CPUs. */
static void bytes_0(void) { ((unsigned char*)&litmus.x)[0] = 1; }
static void bytes_1(void) { ((unsigned char*)&litmus.x)[1] = 1; }
/* A word is added to without a lock. */
static void lost_0(void) { litmus.x += 1; }
static void kept_0(void) { __atomic_fetch_add(&litmus.x, 1, __ATOMIC_RELAXED); }
/* Sixteen bytes are two stores. */
typedef unsigned long long pair __attribute__((vector_size(16)));
static void pair_0(void) { *(volatile pair*)litmus.pair = (pair){1, 1}; }
static void pair_1(void) {
  litmus.seen[0] = ONCE(litmus.pair[1]);
  litmus.seen[1] = ONCE(litmus.pair[0]);
}
static void block_0(void) { __builtin_memset(litmus.pair, 1, sizeof litmus.pair); }
/* Nothing but its own words. */
static void own_0(void) {
  for (int i = 0; i < 3; ++i) litmus.own[0] += 1;
  litmus.seen[0] = litmus.own[0];
}
static void own_1(void) {
  for (int i = 0; i < 3; ++i) litmus.own[8] += 1;
  litmus.seen[1] = litmus.own[8];
}

const struct litmus_program litmus_programs[] = {
    {"SB", {sb_0, sb_1}, 0},
    {"SB+once", {sb_once_0, sb_once_1}, 0},
    {"SB+fences", {sb_fence_0, sb_fence_1}, 0},
    {"SB+locked", {sb_locked_0, sb_locked_1}, 0},
    {"MP", {mp_0, mp_1}, 0},
    {"LB", {lb_0, lb_1}, 0},
    {"n6", {n6_0, n6_1}, 1},
    {"narrow", {narrow_0, narrow_1}, 0},
    {"wide", {wide_0, narrow_1}, 0},
    {"bytes", {bytes_0, bytes_1}, 1},
    {"lost", {lost_0, lost_0}, 1},
    {"kept", {kept_0, kept_0}, 1},
    {"pair", {pair_0, pair_1}, 0},
    {"block", {block_0, pair_1}, 0},
    {"own", {own_0, own_1}, 0},
    {0, {0, 0}, 0},
};
