/* Programs of two CPUs over a few words. */
#pragma once

/* NOLINTBEGIN(readability-identifier-naming): names of C */

#ifdef __cplusplus
extern "C" {
#endif

struct litmus_words {
  unsigned long long x;
  unsigned long long y;
  unsigned long long z;
  unsigned long long seen[4];
  unsigned long long pair[2] __attribute__((aligned(16)));
  unsigned long long own[16];
};
extern struct litmus_words litmus;

struct litmus_program {
  const char* name;
  void (*code[2])(void);
  int shows_x; /* what it holds in the end */
};
extern const struct litmus_program litmus_programs[];

#ifdef __cplusplus
}
#endif

/* NOLINTEND(readability-identifier-naming) */
