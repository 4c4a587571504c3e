/* What is around the kernel's TLB code on the modelled machine: what its scheduler, its memory
 * manager and its entry code do, as far as TLBs go. It is compiled as the kernel's files are, so
 * its accesses to page tables are the machine's. */
#include <asm/tlbflush.h>

#define QUIET __attribute__((no_sanitize("thread"), __noinline__))
#define MMS 8

/* ---- What the rest of the kernel defines */

char shim_copies[NR_CPUS][SHIM_PERCPU_BYTES] __attribute__((aligned(64)));
struct cpumask shim_possible, shim_online;
struct mm_struct init_mm = {.context = {.ctx_id = 1}}; /* 0 is that of no mm */
struct static_key switch_mm_cond_ibpb, switch_mm_always_ibpb, switch_mm_cond_l1d_flush;
DEFINE_PER_CPU(struct shim_cpuinfo, cpu_info);
DEFINE_PER_CPU_ALIGNED(struct tlb_state, cpu_tlbstate) = {
    .loaded_mm = &init_mm, .next_asid = 1, .cr4 = ~0UL};
/* What alloc_percpu gives out. */
static DEFINE_PER_CPU_ALIGNED(char, pool[1024]);
static size_t pool_used;

static unsigned long features;
static unsigned long trims;
static unsigned long user_roots[MMS];
static struct mm_struct mms[MMS];
static struct task_struct tasks[NR_CPUS][MMS + 1]; /* of each mm, and the last of none */
static struct task_struct* running[NR_CPUS];
static int queues[NR_CPUS]; /* locks of run queues */
static int locks[MMS + 1];  /* of page tables; the last is the kernel's */
static struct arch_tlbflush_unmap_batch batches[NR_CPUS];

extern unsigned long tlb_single_page_flush_ceiling;
extern atomic64_t last_mm_ctx_id;

QUIET bool shim_has(unsigned feature) { return (features >> feature & 1) != 0; }
QUIET unsigned long shim_jiffies(void) { return trims; }
QUIET struct task_struct* shim_current(void) { return running[shim_this_cpu()]; }
QUIET void* shim_alloc_percpu(size_t bytes) {
  void* const found = pool + pool_used;
  pool_used += (bytes + 63) & ~(size_t)63;
  if (pool_used > sizeof pool)
    shim_die("no memory for variables of CPUs is left", __FILE__, __LINE__);
  return found;
}
unsigned long cr4_read_shadow(void) { return this_cpu_read(cpu_tlbstate.cr4); }
void cr4_update_irqsoff(unsigned long set, unsigned long clear) {
  const unsigned long value = (this_cpu_read(cpu_tlbstate.cr4) & ~clear) | set;
  this_cpu_write(cpu_tlbstate.cr4, value);
  shim_write_cr4(value);
}
#ifdef SHIM_SENDS_SINGLE
void send_call_function_single_ipi(int cpu) { arch_send_call_function_single_ipi(cpu); }
#endif

static struct mm_struct* mm_of(unsigned number) { return &mms[number]; }
static struct task_struct* task_of(unsigned number);
static void run(struct task_struct* task);

static void lock(int* word) {
  while (__atomic_exchange_n(word, 1, __ATOMIC_SEQ_CST) != 0) cpu_relax();
}
static void unlock(int* word) { smp_store_release(word, 0); }

/* ---- Bring-up */

QUIET static void copy_percpu(void) {
  const size_t bytes = (size_t)(__stop_shim_percpu - __start_shim_percpu);
  if (bytes > SHIM_PERCPU_BYTES)
    shim_die("the variables of a CPU are too many", __FILE__, __LINE__);
  for (unsigned cpu = 0; cpu < NR_CPUS; ++cpu)
    __builtin_memcpy(shim_copies[cpu], __start_shim_percpu, bytes);
}

void linux_boot(unsigned cpus, unsigned long has, unsigned ceiling, unsigned trimming,
                unsigned long root) {
  features = has;
  trims = trimming;
  tlb_single_page_flush_ceiling = ceiling;
  copy_percpu();
  nr_cpu_ids = cpus;
  shim_possible.bits[0] = (1UL << cpus) - 1;
  init_mm.pgd = (pgd_t*)root;
  call_function_init();
  for (unsigned cpu = 1; cpu < cpus; ++cpu) smpcfd_prepare_cpu(cpu);
}

/* This CPU is up, with the kernel's root. */
void linux_cpu_up(void) {
  run(task_of(MMS));
  shim_write_cr3((unsigned long)init_mm.pgd);
  this_cpu_write(cpu_tlbstate.cr4, shim_read_cr4());
  initialize_tlbstate_and_flush();
  cpumask_set_cpu(shim_this_cpu(), &shim_online);
}

/* As the hot-unplug code does it, with interrupts off everywhere. */
void linux_cpu_down(void) {
  run(task_of(MMS));
  switch_mm_irqs_off(NULL, &init_mm, shim_current());
  cpumask_clear_cpu((int)shim_this_cpu(), &shim_online);
  smpcfd_dying_cpu(shim_this_cpu());
}

/* ---- mms */

void linux_mm_create(unsigned number, unsigned long root, unsigned long user_root) {
  struct mm_struct* const mm = mm_of(number);
  mm->pgd = (pgd_t*)root;
  mm->context.ctx_id = (u64)atomic64_inc_return(&last_mm_ctx_id);
  atomic64_set(&mm->context.tlb_gen, 0);
  mm->context.next_trim_cpumask = 0;
  cpumask_clear(mm_cpumask(mm));
  user_roots[number] = user_root;
}
const void* linux_mm(unsigned number) { return &mms[number]; }
QUIET unsigned long linux_root(unsigned number) { return (unsigned long)mms[number].pgd; }

/* ---- The scheduler, with interrupts off */

QUIET static struct task_struct* task_of(unsigned number) {
  struct task_struct* const task = &tasks[shim_this_cpu()][number];
  task->mm = number < MMS ? mm_of(number) : NULL;
  return task;
}
QUIET static void run(struct task_struct* task) { running[shim_this_cpu()] = task; }

/* The kernel changes mms first, and stacks then, all of it under the lock of the CPU's run queue.
 * That is a locked instruction, which waits for what the task before has stored. */
void linux_switch(unsigned number) {
  struct task_struct* const next = task_of(number);
  lock(&queues[shim_this_cpu()]);
  switch_mm_irqs_off(this_cpu_read(cpu_tlbstate.loaded_mm), next->mm, next);
  run(next);
  unlock(&queues[shim_this_cpu()]);
}
void linux_idle(void) {
  lock(&queues[shim_this_cpu()]);
  enter_lazy_tlb(this_cpu_read(cpu_tlbstate.loaded_mm), task_of(MMS));
  run(task_of(MMS));
  unlock(&queues[shim_this_cpu()]);
}
void linux_leave(void) {
  linux_idle();
  leave_mm(shim_this_cpu());
}
/* The mm of the task that runs, or a number that is none. */
QUIET unsigned linux_task(void) { return (unsigned)(shim_current() - tasks[shim_this_cpu()]); }
int linux_nmi_may_read(void) { return nmi_uaccess_okay(); }

/* ---- The entry code, with interrupts off. Its instructions are assembler in the kernel. */

QUIET static unsigned long user_root_of(unsigned long root) {
  for (unsigned number = 0; number < MMS; ++number) {
    if ((unsigned long)mms[number].pgd == root) return user_roots[number];
  }
  return 0;
}
QUIET static unsigned long root_of(unsigned long user_root) {
  for (unsigned number = 0; number < MMS; ++number) {
    if (user_roots[number] == user_root && user_root != 0) return (unsigned long)mms[number].pgd;
  }
  return 0;
}

/* On the way to user mode. */
void linux_to_user(void) {
  unsigned long cr3 = shim_read_cr3();
  const unsigned long user_root = user_root_of(cr3 & SHIM_FRAME);
  if (!shim_has(X86_FEATURE_PTI) || user_root == 0) return;
  if (shim_has(X86_FEATURE_PCID)) {
    const unsigned long pcid = cr3 & 0xfff;
    unsigned long* const mask = (unsigned long*)this_cpu_ptr(&cpu_tlbstate.user_pcid_flush_mask);
    if ((this_cpu_read(cpu_tlbstate.user_pcid_flush_mask) >> pcid & 1) != 0) {
      __clear_bit((long)pcid, mask);
    } else {
      cr3 |= CR3_NOFLUSH;
    }
    cr3 |= 1UL << X86_CR3_PTI_PCID_USER_BIT;
  }
  shim_write_cr3((cr3 & ~SHIM_FRAME) | user_root);
}
/* Returns whether it was user mode. */
int linux_to_kernel(void) {
  const unsigned long cr3 = shim_read_cr3();
  const unsigned long root = root_of(cr3 & SHIM_FRAME);
  if (root == 0) return 0;
  const unsigned long keep = shim_has(X86_FEATURE_PCID) ? CR3_NOFLUSH : 0;
  shim_write_cr3((cr3 & ~(SHIM_FRAME | 1UL << X86_CR3_PTI_PCID_USER_BIT)) | root | keep);
  return 1;
}
void linux_call_function_interrupt(void) { generic_smp_call_function_single_interrupt(); }

/* ---- The memory manager */

unsigned long shim_frame(void);

/* The entry of the level that is for the address, below this root; tables are made on the way.
 * NULL: there is none. */
static unsigned long* find(unsigned long root, unsigned long user_root, unsigned long address,
                           int level, bool make) {
  unsigned long table = root;
  for (int at = 4; at > level; --at) {
    const unsigned long index = address >> (3 + 9 * at) & 511;
    unsigned long* const entry = (unsigned long*)shim_at(table) + index;
    unsigned long value = READ_ONCE(*entry);
    if ((value & _PAGE_PRESENT) == 0) {
      if (!make) return NULL;
      const unsigned long frame = shim_frame();
      if (frame == 0) return NULL;
      value = frame | _PAGE_PRESENT | _PAGE_RW | _PAGE_USER;
      WRITE_ONCE(*entry, value);
      if (at == 4 && user_root != 0) WRITE_ONCE(((unsigned long*)shim_at(user_root))[index], value);
    }
    table = value & SHIM_FRAME;
  }
  return (unsigned long*)shim_at(table) + (address >> (3 + 9 * level) & 511);
}

/* Returns whether it is mapped now. */
int linux_map(unsigned number, unsigned long address, unsigned long frame) {
  lock(&locks[number]);
  unsigned long* const entry =
      find((unsigned long)mms[number].pgd, user_roots[number], address, 1, true);
  if (entry != NULL) WRITE_ONCE(*entry, frame | _PAGE_PRESENT | _PAGE_RW | _PAGE_USER);
  unlock(&locks[number]);
  return entry != NULL;
}
/* Takes the entry at this level away, and returns it. */
unsigned long linux_take(unsigned number, unsigned long address, int level) {
  lock(&locks[number]);
  unsigned long* const entry = find((unsigned long)mms[number].pgd, 0, address, level, false);
  const unsigned long old = entry != NULL ? xchg(entry, 0) : 0;
  unlock(&locks[number]);
  return old;
}
void linux_set_writable(unsigned number, unsigned long address, int on) {
  lock(&locks[number]);
  unsigned long* const entry = find((unsigned long)mms[number].pgd, 0, address, 1, false);
  if (entry != NULL && on) __atomic_fetch_or(entry, _PAGE_RW, __ATOMIC_SEQ_CST);
  if (entry != NULL && !on) __atomic_fetch_and(entry, ~_PAGE_RW, __ATOMIC_SEQ_CST);
  unlock(&locks[number]);
}
void linux_flush(unsigned number, unsigned long start, unsigned long end, int freed_tables) {
  flush_tlb_mm_range(mm_of(number), start, end, PAGE_SHIFT, freed_tables != 0);
}
void linux_flush_all(void) { flush_tlb_all(); }

/* Every CPU has left what it did with interrupts off, as an interrupt to each shows. */
static void nothing(void* info) { (void)info; }
void linux_grace_period(void) {
  preempt_disable();
  smp_call_function(nothing, NULL, 1);
  preempt_enable();
}

void linux_batch_add(unsigned number, unsigned long address) {
#ifdef SHIM_ADDS_PENDING
  arch_tlbbatch_add_pending(&batches[shim_this_cpu()], mm_of(number), address);
#else
  (void)address;
  arch_tlbbatch_add_mm(&batches[shim_this_cpu()], mm_of(number));
#endif
}
void linux_batch_flush(void) { arch_tlbbatch_flush(&batches[shim_this_cpu()]); }

/* ---- The kernel's own pages */

int linux_kernel_map(unsigned long address, unsigned long frame) {
  lock(&locks[MMS]);
  unsigned long* const entry = find((unsigned long)init_mm.pgd, 0, address, 1, true);
  const unsigned long global =
      shim_has(X86_FEATURE_PGE) && !shim_has(X86_FEATURE_PTI) ? _PAGE_GLOBAL : 0;
  if (entry != NULL) WRITE_ONCE(*entry, frame | _PAGE_PRESENT | _PAGE_RW | global);
  unlock(&locks[MMS]);
  return entry != NULL;
}
unsigned long linux_kernel_take(unsigned long address) {
  lock(&locks[MMS]);
  unsigned long* const entry = find((unsigned long)init_mm.pgd, 0, address, 1, false);
  const unsigned long old = entry != NULL ? xchg(entry, 0) : 0;
  unlock(&locks[MMS]);
  return old;
}
void linux_flush_kernel(unsigned long start, unsigned long end) {
  flush_tlb_kernel_range(start, end);
}

/* ---- Names in reports */

struct field {
  size_t offset;
  const char* name;
};
#define FIELD(type, member) {offsetof(type, member), #member}
static const struct field mm_fields[] = {
    FIELD(struct mm_struct, pgd),
    FIELD(struct mm_struct, context.ctx_id),
    FIELD(struct mm_struct, context.tlb_gen),
    FIELD(struct mm_struct, context.next_trim_cpumask),
    FIELD(struct mm_struct, cpu_bitmap),
};
static const struct field state_fields[] = {
    FIELD(struct tlb_state, loaded_mm),
    FIELD(struct tlb_state, last_user_mm),
    FIELD(struct tlb_state, loaded_mm_asid),
    FIELD(struct tlb_state, next_asid),
    FIELD(struct tlb_state, invalidate_other),
    FIELD(struct tlb_state, user_pcid_flush_mask),
    FIELD(struct tlb_state, cr4),
    FIELD(struct tlb_state, ctxs[0].ctx_id),
    FIELD(struct tlb_state, ctxs[0].tlb_gen),
    FIELD(struct tlb_state, ctxs[1].ctx_id),
    FIELD(struct tlb_state, ctxs[1].tlb_gen),
    FIELD(struct tlb_state, ctxs[2].ctx_id),
    FIELD(struct tlb_state, ctxs[2].tlb_gen),
    FIELD(struct tlb_state, ctxs[3].ctx_id),
    FIELD(struct tlb_state, ctxs[3].tlb_gen),
    FIELD(struct tlb_state, ctxs[4].ctx_id),
    FIELD(struct tlb_state, ctxs[4].tlb_gen),
    FIELD(struct tlb_state, ctxs[5].ctx_id),
    FIELD(struct tlb_state, ctxs[5].tlb_gen),
};
static const struct field info_fields[] = {
    FIELD(struct flush_tlb_info, mm),
    FIELD(struct flush_tlb_info, start),
    FIELD(struct flush_tlb_info, end),
    FIELD(struct flush_tlb_info, new_tlb_gen),
    FIELD(struct flush_tlb_info, initiating_cpu),
    FIELD(struct flush_tlb_info, stride_shift),
    FIELD(struct flush_tlb_info, freed_tables),
};
/* Of a structure of this kind, the field at this offset; or NULL. */
QUIET const char* linux_field(const char* kind, size_t offset) {
  const struct field* fields = mm_fields;
  size_t count = sizeof mm_fields / sizeof *fields;
  if (kind[0] == 'c') {
    fields = state_fields;
    count = sizeof state_fields / sizeof *fields;
  } else if (kind[0] == 'f') {
    fields = info_fields;
    count = sizeof info_fields / sizeof *fields;
  }
  for (size_t i = 0; i < count; ++i) {
    if (fields[i].offset == offset) return fields[i].name;
  }
  return NULL;
}
size_t linux_mm_bytes(void) { return sizeof(struct mm_struct); }
char* linux_percpu(void) { return shim_copies[0]; }
char* linux_percpu_template(void) { return __start_shim_percpu; }
