/* A kernel that uses every function of shootdown.h, and the hooks that it defines. library_test.py
 * compiles it as C99 and as C++, and links it with the library. */
#include <stddef.h>

#include "kernel-glue/embed/shootdown.h"

#ifdef __cplusplus
extern "C" {
#endif

static sd_system machine;
static sd_mm space, copy;
static sd_entry_block block;
static sd_pending pending;

unsigned sd_hook_this_cpu(void) { return 0; }
void sd_hook_preempt_disable(void) {}
void sd_hook_preempt_enable(void) {}
int sd_hook_in_interrupt(void) { return 0; }
void sd_hook_send_interrupt(const uint64_t* words, unsigned count) { (void)words, (void)count; }
void sd_hook_unanswered(const sd_unanswered* report) { (void)report; }
void sd_hook_fail(const sd_failure* failure) {
  (void)failure;
  for (;;) __asm__ volatile("hlt");
}

static void boot(void) {
  sd_config config = SD_CONFIG;
  if (sd_config_refusal(&config) != NULL) return;
  sd_init(&machine, &config, 0x1000);
  sd_cpu_online(&machine);
  sd_change_cr4(&machine, 0, 0);
  sd_mm_init(&machine, &space, 0x2000, 0);
  sd_mm_init(&machine, &copy, 0x3000, 0);
}

static void run(void) {
  sd_temporary place;
  sd_switch_mm(&machine, &space);
  sd_enter_lazy(&machine);
  sd_leave_mm(&machine);
  sd_temporary_begin(&machine, &place, &copy);
  sd_temporary_end(&machine, &place);
  if (sd_user_access_ok(&machine, sd_kernel_mm(&machine))) sd_handle_interrupt(&machine);
}

static void flush(void) {
  sd_token token = sd_flush_range(&machine, &space, 0x1000, 0x2000, 12);
  sd_require(&machine, &token, &space, SD_DATA);
  sd_spend(&machine, &token);
  token = sd_flush_page(&machine, &space, 0x1000);
  token = sd_flush_mm(&machine, &space);
  token = sd_flush_early(&machine, &space, 0x1000, 0x2000, 12);
  token = sd_flush_kernel_range(&machine, 0x1000, 0x2000);
  token = sd_flush_all(&machine);
  sd_submit_range(&machine, &pending, &space, 0x1000, 0x2000, 12);
  while (!sd_is_done(&machine, &pending)) {
  }
  token = sd_complete(&machine, &pending);
  sd_submit_freed_tables(&machine, &pending, &space, 0x1000, 0x2000, 12);
  token = sd_complete(&machine, &pending);
  token = sd_flush_freed_tables(&machine, &space, 0x1000, 0x2000, 12);
  token = sd_exclude_walkers(&machine, &token);
  sd_require(&machine, &token, &space, SD_TABLES);
}

static void reclaim(void) {
  sd_batch batch = {{0}};
  sd_token token;
  sd_batch_add(&machine, &batch, &space);
  sd_batch_settle(&machine, &space);
  if (!sd_batch_is_empty(&batch)) {
    token = sd_batch_flush(&machine, &batch);
    sd_require(&machine, &token, &space, SD_DATA);
  }
  token = sd_retire_mm(&machine, &space);
  sd_require(&machine, &token, &space, SD_ROOT);
}

static void go_to_user_mode(void) {
  sd_prepare_return_to_user(&machine, &block);
  sd_load_user_root(&block);
  sd_leave_nmi(&block, sd_enter_nmi(&block));
  sd_enter_from_user(&block);
}

uint64_t user_counts(void);
uint64_t user_counts(void) {
  uint64_t sum = 0;
  unsigned i;
  for (i = 0; sd_counter_name(i) != NULL; ++i) sum += sd_counter(&machine, i);
  return sum;
}

/* What clang 14 calls on its own account; each kernel has it. */
void* memcpy(void* to, const void* from, size_t bytes);
__attribute__((used)) void* memcpy(void* to, const void* from, size_t bytes) {
  char* t = (char*)to;
  const char* f = (const char*)from;
  for (; bytes != 0; --bytes) {
    *t++ = *f++;
    __asm__ volatile("" ::: "memory"); /* or this becomes a call of itself */
  }
  return to;
}
void* memset(void* to, int value, size_t bytes);
__attribute__((used)) void* memset(void* to, int value, size_t bytes) {
  char* t = (char*)to;
  for (; bytes != 0; --bytes) {
    *t++ = (char)value;
    __asm__ volatile("" ::: "memory");
  }
  return to;
}

void _start(void);
void _start(void) {
  boot();
  run();
  flush();
  reclaim();
  go_to_user_mode();
  sd_cpu_offline(&machine);
  for (;;) __asm__ volatile("hlt");
}

#ifdef __cplusplus
}
#endif
