/* What the TLB code of Linux asks of the rest of the kernel, made for the modelled machine. It
 * comes before each file of the kernel that is compiled; headers that it names itself are empty, or
 * the tree's own.
 *
 * Names and meanings are the kernel's, since its code uses them. How they are made is this
 * project's. */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- The configuration: one processor type, debug options on, one place for each optional part */

#define CONFIG_64BIT 1
#define CONFIG_X86_64 1
#define CONFIG_SMP 1
#define CONFIG_DEBUG_VM 1
#define CONFIG_PROVE_LOCKING 1
#define CONFIG_MITIGATION_PAGE_TABLE_ISOLATION 1
#define CONFIG_PAGE_TABLE_ISOLATION 1
#define NR_CPUS 8
#define KBUILD_MODNAME "shim"

#define SHIM_SECOND_1 0,
#define SHIM_PICK(first, second, ...) second
#define SHIM_IS(argument) SHIM_PICK(argument 1, 0)
#define SHIM_PASTE(value) SHIM_IS(SHIM_SECOND_##value)
#define IS_ENABLED(option) SHIM_PASTE(option)

/* ---- Words of the language */

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef unsigned long long u64;
typedef int32_t s32;
typedef long long s64;
typedef unsigned long ulong;
typedef long ssize_t;
typedef long long loff_t;
typedef unsigned int gfp_t;

#define __user
#define __init
#define __percpu
#define __read_mostly
#define __weak __attribute__((weak))
#define __always_inline inline __attribute__((always_inline))
#define noinline __attribute__((__noinline__))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define barrier() __asm__ volatile("" ::: "memory")
#define ____cacheline_aligned __attribute__((aligned(64)))
#define ____cacheline_aligned_in_smp ____cacheline_aligned
#define __aligned(bytes) __attribute__((aligned(bytes)))
#define fallthrough __attribute__((fallthrough))
#define typeof __typeof__
#define container_of(pointer, type, member) ((type*)((char*)(pointer) - offsetof(type, member)))
#define min(a, b) ((a) < (b) ? (a) : (b))
#define round_up(x, to) ((((x) - 1) | ((to) - 1)) + 1)
#define EXPORT_SYMBOL(name)
#define EXPORT_SYMBOL_GPL(name)
#define EXPORT_PER_CPU_SYMBOL(name)
#define EXPORT_PER_CPU_SYMBOL_GPL(name)
#define early_param(name, function) \
  static __attribute__((unused)) void* shim_param_##function = (void*)(function)
#define late_initcall(function) \
  static __attribute__((unused)) void* shim_initcall_##function = (void*)(function)
#define module_param(name, type, mode)
#define __setup(name, function) early_param(name, function)
#define BUILD_BUG_ON(condition) ((void)SHIM_CHECK(condition, "BUILD_BUG_ON"))
#define _RET_IP_ 0UL
#define ENOMEM 12
#define EBUSY 16
#define EFAULT 14
#define EINVAL 22
#define ENXIO 6
#define GFP_KERNEL 0
#define S_IRUSR 0400
#define S_IWUSR 0200
#define HZ (-1L)

/* ---- What the machine does: the harness defines these */

unsigned shim_this_cpu(void);
void shim_pause(void);
void shim_fence(void);
unsigned long shim_irq_flags(void);
void shim_irq_set(unsigned long on);
void shim_write_cr3(unsigned long value);
unsigned long shim_read_cr3(void);
void shim_write_cr4(unsigned long value);
unsigned long shim_read_cr4(void);
void shim_invlpg(unsigned long address);
void shim_invpcid(unsigned long type, unsigned long pcid, unsigned long address);
void shim_send_ipi(unsigned long cpus);
unsigned long shim_add(void* word, unsigned bytes, unsigned long value);
int shim_in_interrupt(void);
_Noreturn void shim_die(const char* what, const char* file, int line);

/* ---- The kernel's own checks: each is an oracle */

#define SHIM_CHECK(condition, what)                                         \
  ({                                                                        \
    const bool shim_fails = !!(condition);                                  \
    if (shim_fails) shim_die(what " (" #condition ")", __FILE__, __LINE__); \
    shim_fails;                                                             \
  })
#define WARN_ON(condition) SHIM_CHECK(condition, "WARN_ON")
#define WARN_ON_ONCE(condition) SHIM_CHECK(condition, "WARN_ON_ONCE")
#define WARN(condition, ...) SHIM_CHECK(condition, "WARN")
#define WARN_ONCE(condition, ...) SHIM_CHECK(condition, "WARN_ONCE")
#define BUG_ON(condition) ((void)SHIM_CHECK(condition, "BUG_ON"))
#define BUG() shim_die("BUG", __FILE__, __LINE__)
#define VM_WARN_ON(condition) ((void)SHIM_CHECK(condition, "VM_WARN_ON"))
#define VM_WARN_ON_ONCE(condition) ((void)SHIM_CHECK(condition, "VM_WARN_ON_ONCE"))
#define VM_BUG_ON(condition) ((void)SHIM_CHECK(condition, "VM_BUG_ON"))
#define lockdep_assert_irqs_enabled() ((void)SHIM_CHECK(irqs_disabled(), "lockdep"))
#define lockdep_assert_irqs_disabled() ((void)SHIM_CHECK(!irqs_disabled(), "lockdep"))
#define lockdep_assert_preemption_disabled() ((void)0)
#define pr_info(...) ((void)0)
#define pr_warn(...) ((void)0)
#define pr_alert(...) ((void)0)
#define dump_stack() ((void)0)

/* ---- Memory and its order */

#define READ_ONCE(place) (*(const volatile __typeof__(place)*)&(place))
#define WRITE_ONCE(place, value) (*(volatile __typeof__(place)*)&(place) = (value))
#define data_race(expression) (expression)
#define smp_mb() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define mb() smp_mb()
#define smp_rmb() barrier()
#define smp_wmb() barrier()
#define smp_mb__before_atomic() barrier()
#define smp_mb__after_atomic() barrier()
#define smp_acquire__after_ctrl_dep() barrier()
#define smp_store_release(place, value) \
  do {                                  \
    barrier();                          \
    WRITE_ONCE(*(place), value);        \
  } while (0)
#define smp_load_acquire(place)                            \
  ({                                                       \
    __typeof__(*(place)) shim_value = READ_ONCE(*(place)); \
    barrier();                                             \
    shim_value;                                            \
  })
#define cpu_relax() shim_pause()
#define smp_cond_load_acquire(place, condition) \
  ({                                            \
    __typeof__(*(place)) VAL;                   \
    for (;;) {                                  \
      VAL = READ_ONCE(*(place));                \
      if (condition) break;                     \
      cpu_relax();                              \
    }                                           \
    barrier();                                  \
    VAL;                                        \
  })

#define xchg(place, value)                                              \
  ({                                                                    \
    __typeof__(*(place)) shim_new = (value);                            \
    __typeof__(*(place)) shim_old;                                      \
    __atomic_exchange((place), &shim_new, &shim_old, __ATOMIC_SEQ_CST); \
    shim_old;                                                           \
  })
#define try_cmpxchg(place, old, value)                                                           \
  ({                                                                                             \
    __typeof__(*(place)) shim_new = (value);                                                     \
    __atomic_compare_exchange((place), (old), &shim_new, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); \
  })
#define try_cmpxchg_release try_cmpxchg
#define cmpxchg(place, expected, value)           \
  ({                                              \
    __typeof__(*(place)) shim_found = (expected); \
    (void)try_cmpxchg(place, &shim_found, value); \
    shim_found;                                   \
  })

typedef struct {
  int counter;
} atomic_t;
typedef struct {
  s64 counter;
} atomic64_t;
#define ATOMIC_INIT(value) {(value)}
#define ATOMIC64_INIT(value) {(value)}
#define atomic_read(v) READ_ONCE((v)->counter)
#define atomic_set(v, value) WRITE_ONCE((v)->counter, value)
#define atomic_set_release(v, value) smp_store_release(&(v)->counter, value)
#define atomic_inc_return(v) __atomic_add_fetch(&(v)->counter, 1, __ATOMIC_SEQ_CST)
#define atomic_inc(v) ((void)atomic_inc_return(v))
#define atomic_dec(v) ((void)__atomic_sub_fetch(&(v)->counter, 1, __ATOMIC_SEQ_CST))
#define atomic64_read(v) READ_ONCE((v)->counter)
#define atomic64_set(v, value) WRITE_ONCE((v)->counter, value)
#define atomic64_inc_return(v) __atomic_add_fetch(&(v)->counter, 1, __ATOMIC_SEQ_CST)

/* ---- Bits */

#define BITS_PER_LONG 64
static inline bool test_bit(long bit, const volatile unsigned long* words) {
  return (words[bit / BITS_PER_LONG] >> (bit % BITS_PER_LONG) & 1) != 0;
}
static inline void set_bit(long bit, volatile unsigned long* words) {
  __atomic_fetch_or((unsigned long*)words + bit / BITS_PER_LONG, 1UL << bit % BITS_PER_LONG,
                    __ATOMIC_SEQ_CST);
}
static inline void clear_bit(long bit, volatile unsigned long* words) {
  __atomic_fetch_and((unsigned long*)words + bit / BITS_PER_LONG, ~(1UL << bit % BITS_PER_LONG),
                     __ATOMIC_SEQ_CST);
}
/* In the byte that has the bit: the instruction is about its bits only, and its word may not be
 * aligned. */
static inline void __set_bit(long bit, volatile unsigned long* words) {
  ((volatile u8*)words)[bit / 8] |= (u8)(1U << bit % 8);
}
static inline void __clear_bit(long bit, volatile unsigned long* words) {
  ((volatile u8*)words)[bit / 8] &= (u8) ~(1U << bit % 8);
}

/* ---- Variables of each CPU: a section, and a copy of it for each CPU */

#define SHIM_PERCPU_BYTES 4096
extern char __start_shim_percpu[] __attribute__((visibility("hidden")));
extern char __stop_shim_percpu[] __attribute__((visibility("hidden")));
extern char shim_copies[NR_CPUS][SHIM_PERCPU_BYTES]
    __attribute__((visibility("hidden"), aligned(64)));

#define SHIM_PERCPU __attribute__((section("shim_percpu"), used))
#define DECLARE_PER_CPU(type, name) extern __typeof__(type) name
#define DECLARE_PER_CPU_ALIGNED(type, name) extern __typeof__(type) name
#define DECLARE_PER_CPU_SHARED_ALIGNED(type, name) extern __typeof__(type) name
#define DEFINE_PER_CPU(type, name) SHIM_PERCPU __typeof__(type) name
#define DEFINE_PER_CPU_ALIGNED(type, name) \
  SHIM_PERCPU __attribute__((aligned(64))) __typeof__(type) name
#define DEFINE_PER_CPU_SHARED_ALIGNED(type, name) DEFINE_PER_CPU_ALIGNED(type, name)

static inline void* shim_of_cpu(const volatile void* variable, unsigned cpu) {
  return shim_copies[cpu] + ((const volatile char*)variable - __start_shim_percpu);
}
#define per_cpu_ptr(pointer, cpu) ((__typeof__(pointer))shim_of_cpu(pointer, cpu))
#define per_cpu(variable, cpu) (*per_cpu_ptr(&(variable), cpu))
#define this_cpu_ptr(pointer) per_cpu_ptr(pointer, shim_this_cpu())
#define raw_cpu_ptr(pointer) this_cpu_ptr(pointer)
#define this_cpu_read(variable) READ_ONCE(*this_cpu_ptr(&(variable)))
#define this_cpu_write(variable, value) WRITE_ONCE(*this_cpu_ptr(&(variable)), value)
#define __this_cpu_read this_cpu_read
#define __this_cpu_write this_cpu_write
#define raw_cpu_read this_cpu_read
#define raw_cpu_write this_cpu_write
#define this_cpu_add_return(variable, value)                                   \
  ((__typeof__(variable))shim_add(this_cpu_ptr(&(variable)), sizeof(variable), \
                                  (unsigned long)(value)))
#define this_cpu_inc_return(variable) this_cpu_add_return(variable, 1)
#define this_cpu_dec(variable) ((void)this_cpu_add_return(variable, -1))
#define this_cpu_inc(variable) ((void)this_cpu_add_return(variable, 1))
#define __this_cpu_inc this_cpu_inc
void* shim_alloc_percpu(size_t bytes);
#define alloc_percpu(type) ((type*)shim_alloc_percpu(sizeof(type)))
#define free_percpu(pointer) ((void)(pointer))

#define raw_smp_processor_id() shim_this_cpu()
#define smp_processor_id() shim_this_cpu()
#define get_cpu() shim_this_cpu()
#define put_cpu() ((void)0)
#define preempt_disable() ((void)0)
#define preempt_enable() ((void)0)
#define cpu_to_node(cpu) 0

/* ---- Sets of CPUs */

typedef struct cpumask {
  unsigned long bits[1];
} cpumask_t;
typedef struct cpumask cpumask_var_t[1];
extern unsigned int nr_cpu_ids;
#define set_nr_cpu_ids(number) (nr_cpu_ids = (number))
extern struct cpumask shim_possible, shim_online;
#define cpu_possible_mask ((const struct cpumask*)&shim_possible)
#define cpu_online_mask ((const struct cpumask*)&shim_online)
#define cpumask_bits(mask) ((mask)->bits)
#define cpumask_of_node(node) cpu_online_mask
#define zalloc_cpumask_var_node(mask, flags, node) ((void)cpumask_clear(&(*(mask))[0]), true)
#define free_cpumask_var(mask) ((void)(mask))

static inline bool cpumask_test_cpu(int cpu, const struct cpumask* mask) {
  return test_bit(cpu, mask->bits);
}
static inline void cpumask_set_cpu(unsigned cpu, struct cpumask* mask) { set_bit(cpu, mask->bits); }
static inline void cpumask_clear_cpu(int cpu, struct cpumask* mask) { clear_bit(cpu, mask->bits); }
static inline void __cpumask_set_cpu(unsigned cpu, struct cpumask* mask) {
  __set_bit(cpu, mask->bits);
}
static inline void __cpumask_clear_cpu(int cpu, struct cpumask* mask) {
  __clear_bit(cpu, mask->bits);
}
static inline void cpumask_clear(struct cpumask* mask) { mask->bits[0] = 0; }
static inline void cpumask_or(struct cpumask* to, const struct cpumask* a,
                              const struct cpumask* b) {
  to->bits[0] = a->bits[0] | b->bits[0];
}
static inline bool cpumask_and(struct cpumask* to, const struct cpumask* a,
                               const struct cpumask* b) {
  return (to->bits[0] = a->bits[0] & b->bits[0]) != 0;
}
/* The first CPU from this one on, or nr_cpu_ids. */
static inline unsigned shim_first(unsigned long bits, unsigned from) {
  bits &= from < NR_CPUS ? ~0UL << from : 0;
  return bits != 0 ? (unsigned)__builtin_ctzl(bits) : nr_cpu_ids;
}
static inline unsigned cpumask_first(const struct cpumask* mask) {
  return shim_first(READ_ONCE(mask->bits[0]), 0);
}
static inline unsigned cpumask_next(int cpu, const struct cpumask* mask) {
  return shim_first(READ_ONCE(mask->bits[0]), (unsigned)(cpu + 1));
}
static inline unsigned cpumask_next_and(int cpu, const struct cpumask* a, const struct cpumask* b) {
  return shim_first(READ_ONCE(a->bits[0]) & READ_ONCE(b->bits[0]), (unsigned)(cpu + 1));
}
static inline unsigned cpumask_first_and(const struct cpumask* a, const struct cpumask* b) {
  return cpumask_next_and(-1, a, b);
}
#define cpumask_any_and cpumask_first_and
static inline unsigned cpumask_any_but(const struct cpumask* mask, unsigned cpu) {
  return shim_first(READ_ONCE(mask->bits[0]) & ~(1UL << cpu), 0);
}
#define for_each_cpu(cpu, mask) \
  for ((cpu) = -1; (cpu) = (int)cpumask_next((cpu), (mask)), (unsigned)(cpu) < nr_cpu_ids;)
#define for_each_possible_cpu(cpu) for_each_cpu(cpu, cpu_possible_mask)
#define for_each_online_cpu(cpu) for_each_cpu(cpu, cpu_online_mask)
static inline bool cpu_online(unsigned cpu) { return cpumask_test_cpu((int)cpu, cpu_online_mask); }
#define num_online_cpus() ((unsigned)__builtin_popcountl(shim_online.bits[0]))
#define num_online_nodes() 1U
#define find_last_bit(words, bits) ((unsigned long)(63 - __builtin_clzl((words)[0])))
#define str_plural(count) ""

/* ---- Interrupts */

#define irqs_disabled() (shim_irq_flags() == 0)
#define local_irq_disable() shim_irq_set(0)
#define local_irq_enable() shim_irq_set(1)
#define local_irq_save(flags)          \
  do {                                 \
    (flags) = shim_irq_flags();        \
    if ((flags) != 0) shim_irq_set(0); \
  } while (0)
#define local_irq_restore(flags)       \
  do {                                 \
    if ((flags) != 0) shim_irq_set(1); \
  } while (0)
#define raw_local_irq_save local_irq_save
#define raw_local_irq_restore local_irq_restore
#define in_task() (shim_in_interrupt() == 0)
#define in_nmi() (shim_in_interrupt() == 2)
#define preemptible() (!irqs_disabled() && 0)
#define oops_in_progress 0
#define early_boot_irqs_disabled 0
#define local_softirq_pending() 0U
#define do_softirq_post_smp_call_flush(pending) ((void)(pending))
#define irq_work_run() ((void)0)
#define irq_work_single(work) ((void)(work))
#define call_function_single_prep_ipi(cpu) true
#ifdef SHIM_SENDS_SINGLE
void send_call_function_single_ipi(int cpu);
#endif
#define arch_send_call_function_single_ipi(cpu) shim_send_ipi(1UL << (cpu))
#define arch_send_call_function_ipi_mask(mask) shim_send_ipi((mask)->bits[0])
#define hypervisor_pin_vcpu(cpu) ((void)(cpu))
#define wake_up_if_idle(cpu) ((void)(cpu))
#define sched_clock() 0ULL
#define sched_ttwu_pending ((smp_call_func_t)0)
#define dump_cpu_task(cpu) ((void)(cpu))
#define get_option(text, number) 0
#define idle_threads_init() ((void)0)
#define cpuhp_threads_init() ((void)0)
#define bringup_nonboot_cpus(most) ((void)(most))
#define smp_cpus_done(most) ((void)(most))

struct work_struct {
  void (*func)(struct work_struct*);
};
struct completion {
  int done;
};
#define COMPLETION_INITIALIZER_ONSTACK(work) {0}
#define INIT_WORK_ONSTACK(work, function) ((work)->func = (function))
#define queue_work_on(cpu, queue, work) ((work)->func(work))
#define system_wq 0
#define wait_for_completion(work) ((void)(work))
#define complete(work) ((work)->done = 1)
#define destroy_work_on_stack(work) ((void)(work))

/* Static keys are plain switches. */
struct static_key {
  int on;
};
#define DEFINE_STATIC_KEY_FALSE(name) struct static_key name = {0}
#define DEFINE_STATIC_KEY_MAYBE(option, name) struct static_key name = {0}
#define DECLARE_STATIC_KEY_FALSE(name) extern struct static_key name
#define static_branch_likely(key) ((key)->on != 0)
#define static_branch_unlikely(key) ((key)->on != 0)
#define static_branch_enable(key) ((key)->on = 1)
#define static_branch_disable(key) ((key)->on = 0)

#define trace_tlb_flush(reason, pages) ((void)(reason), (void)(pages))
#define trace_ipi_send_cpu(...) ((void)0)
#define trace_ipi_send_cpumask(...) ((void)0)
#define trace_csd_queue_cpu(...) ((void)0)
#define trace_csd_queue_cpu_enabled() false
#define trace_csd_function_entry(...) ((void)0)
#define trace_csd_function_exit(...) ((void)0)
enum {
  TLB_FLUSH_ON_TASK_SWITCH,
  TLB_REMOTE_SHOOTDOWN,
  TLB_LOCAL_SHOOTDOWN,
  TLB_LOCAL_MM_SHOOTDOWN,
  TLB_REMOTE_SEND_IPI
};
#define count_vm_tlb_event(event) ((void)0)
#define count_vm_tlb_events(event, number) ((void)(number))
#define inc_irq_stat(member) ((void)0)

/* ---- Calls of functions on other CPUs */

#include <linux/smp_types.h>

typedef void (*smp_call_func_t)(void* info);
typedef bool (*smp_cond_func_t)(int cpu, void* info);
typedef struct __call_single_data {
  struct __call_single_node node;
  smp_call_func_t func;
  void* info;
} __attribute__((aligned(32))) call_single_data_t;

void on_each_cpu_cond_mask(smp_cond_func_t condition, smp_call_func_t function, void* info,
                           bool wait, const struct cpumask* mask);
#define on_each_cpu(function, info, wait) \
  on_each_cpu_cond_mask(NULL, function, info, wait, cpu_online_mask)
#define on_each_cpu_mask(mask, function, info, wait) \
  on_each_cpu_cond_mask(NULL, function, info, wait, mask)
void smp_call_function_many(const struct cpumask* mask, smp_call_func_t function, void* info,
                            bool wait);
void smp_call_function(smp_call_func_t function, void* info, int wait);
int smp_call_function_single(int cpu, smp_call_func_t function, void* info, int wait);
int smp_call_function_single_async(int cpu, call_single_data_t* csd);
void generic_smp_call_function_single_interrupt(void);
void flush_smp_call_function_queue(void);
void __smp_call_single_queue(int cpu, struct llist_node* node);
int smpcfd_prepare_cpu(unsigned int cpu);
int smpcfd_dying_cpu(unsigned int cpu);
int smpcfd_dead_cpu(unsigned int cpu);
void call_function_init(void);

/* ---- Page tables */

#define PAGE_SHIFT 12
#define PAGE_SIZE (1UL << PAGE_SHIFT)
#define PAGE_MASK (~(PAGE_SIZE - 1))
#define PMD_SHIFT 21
#define _PAGE_PRESENT (1UL << 0)
#define _PAGE_RW (1UL << 1)
#define _PAGE_USER (1UL << 2)
#define _PAGE_PWT (1UL << 3)
#define _PAGE_PCD (1UL << 4)
#define _PAGE_ACCESSED (1UL << 5)
#define _PAGE_DIRTY (1UL << 6)
#define _PAGE_PSE (1UL << 7)
#define _PAGE_PAT (1UL << 7)
#define _PAGE_GLOBAL (1UL << 8)
#define _PAGE_SOFTW1 (1UL << 9)
#define _PAGE_SOFTW2 (1UL << 10)
#define _PAGE_SOFTW3 (1UL << 11)
#define _PAGE_SOFTW4 (1UL << 57)
#define _PAGE_PAT_LARGE (1UL << 12)
#define _PAGE_SAVED_DIRTY (1UL << 58)
#define _PAGE_PKEY_BIT0 (1UL << 59)
#define _PAGE_PKEY_BIT1 (1UL << 60)
#define _PAGE_PKEY_BIT2 (1UL << 61)
#define _PAGE_PKEY_BIT3 (1UL << 62)
#define _PAGE_NX (1UL << 63)
#define SHIM_FRAME 0x000ffffffffff000UL
typedef unsigned long pteval_t;
typedef struct {
  pteval_t pte;
} pte_t;
typedef struct {
  pteval_t pmd;
} pmd_t;
typedef struct {
  pteval_t pgd;
} pgd_t;
#define pte_flags(entry) ((entry).pte & ~SHIM_FRAME)
#define pmd_flags(entry) ((entry).pmd & ~SHIM_FRAME)
#define pte_pfn(entry) (((entry).pte & SHIM_FRAME) >> PAGE_SHIFT)
#define pmd_pfn(entry) (((entry).pmd & SHIM_FRAME) >> PAGE_SHIFT)

/* Physical memory is the machine's frames, which the harness finds. A root is named by its address
 * alone. */
void* shim_at(unsigned long physical);
#define __pa(pointer) ((unsigned long)(pointer))
#define __sme_pa(pointer) __pa(pointer)
#define __va(physical) ((void*)(physical))

/* ---- Processors */

#define X86_CR3_PCID_BITS 12
#define X86_CR3_PTI_PCID_USER_BIT 11
#define CR3_ADDR_MASK 0x7ffffffffffff000UL
#define CR3_NOFLUSH (1UL << 63)
#define X86_CR3_LAM_U57_BIT 61
#define X86_CR3_LAM_U57 (1UL << 61)
#define X86_CR3_LAM_U48 (1UL << 62)
#define X86_CR4_PCE (1UL << 8)
#define X86_CR4_PGE (1UL << 7)
#define X86_CR4_PCIDE (1UL << 17)
#define write_cr3(value) shim_write_cr3(value)
#define native_write_cr3(value) shim_write_cr3(value)
#define __read_cr3() shim_read_cr3()
#define __native_read_cr3() shim_read_cr3()
#define read_cr3_pa() (shim_read_cr3() & SHIM_FRAME)
#define native_write_cr4(value) shim_write_cr4(value)
#define __read_cr4() shim_read_cr4()
#define invlpg(address) shim_invlpg(address)
#define invpcid_flush_one(pcid, address) shim_invpcid(0, pcid, address)
#define invpcid_flush_single_context(pcid) shim_invpcid(1, pcid, 0)
#define invpcid_flush_all() shim_invpcid(2, 0, 0)
#define invpcid_flush_all_nonglobals() shim_invpcid(3, 0, 0)
#define wrmsrl(number, value) ((void)(value))
#define MSR_IA32_FLUSH_CMD 0x10b
#define L1D_FLUSH 1

/* A bit each, decided for a run. */
enum {
  X86_FEATURE_PCID,
  X86_FEATURE_INVPCID,
  X86_FEATURE_INVPCID_SINGLE,
  X86_FEATURE_PTI,
  X86_FEATURE_PGE
};
bool shim_has(unsigned feature);
#define static_cpu_has(feature) shim_has(feature)
#define boot_cpu_has(feature) shim_has(feature)
#define this_cpu_has(feature) shim_has(feature)
#define cpu_feature_enabled(feature) shim_has(feature)

#define TIF_SPEC_IB 9
#define TIF_SPEC_L1D_FLUSH 10
#define TIF_SPEC_FORCE_UPDATE 23
struct callback_head {
  void (*func)(struct callback_head*);
};
struct thread_info {
  unsigned long flags;
};
struct task_struct {
  struct thread_info thread_info;
  struct mm_struct* mm;
  struct callback_head l1d_flush_kill;
};
struct shim_cpuinfo {
  bool smt_active;
};
DECLARE_PER_CPU(struct shim_cpuinfo, cpu_info);
#define task_thread_info(task) (&(task)->thread_info)
#define read_task_thread_flags(task) READ_ONCE((task)->thread_info.flags)
#define clear_ti_thread_flag(info, flag) clear_bit(flag, &(info)->flags)
#define TWA_RESUME 1
#define SIGBUS 7
#define task_work_add(task, work, mode) ((void)(task), (void)(work))
#define force_sig(signal) ((void)(signal))
#define indirect_branch_prediction_barrier() ((void)0)
DECLARE_STATIC_KEY_FALSE(switch_mm_cond_ibpb);
DECLARE_STATIC_KEY_FALSE(switch_mm_always_ibpb);
DECLARE_STATIC_KEY_FALSE(switch_mm_cond_l1d_flush);
struct task_struct* shim_current(void);
#define current shim_current()

/* ---- mms */

typedef struct {
  u64 ctx_id;
  atomic64_t tlb_gen;
  unsigned long next_trim_cpumask;
  atomic_t perf_rdpmc_allowed;
} mm_context_t;
struct mm_struct {
  pgd_t* pgd;
  mm_context_t context;
  struct cpumask cpu_bitmap;
};
struct vm_area_struct {
  struct mm_struct* vm_mm;
  unsigned long vm_flags;
};
#define VM_HUGETLB 0x400000UL
#define hstate_vma(vma) (vma)
#define huge_page_shift(state) ((void)(state), PMD_SHIFT)
extern struct mm_struct init_mm;
#define mm_cpumask(mm) (&(mm)->cpu_bitmap)
#define mm_lam_cr3_mask(mm) 0UL
#define mm_untag_mask(mm) (-1UL)
#define switch_ldt(before, next) ((void)0)
#define mmu_notifier_arch_invalidate_secondary_tlbs(mm, start, end) ((void)0)
unsigned long shim_jiffies(void);
#define jiffies shim_jiffies()
#define time_after(a, b) ((long)((b) - (a)) < 0)

/* The older of these takes a number, the younger nothing. */
void leave_mm();
void switch_mm(struct mm_struct* before, struct mm_struct* next, struct task_struct* task);
void switch_mm_irqs_off(struct mm_struct* before, struct mm_struct* next, struct task_struct* task);
void enter_lazy_tlb(struct mm_struct* mm, struct task_struct* task);

/* ---- Files that only tell a number */

struct file;
struct file_operations {
  ssize_t (*read)(struct file*, char*, size_t, loff_t*);
  ssize_t (*write)(struct file*, const char*, size_t, loff_t*);
  loff_t (*llseek)(struct file*, loff_t, int);
};
#define default_llseek ((loff_t(*)(struct file*, loff_t, int))0)
#define simple_read_from_buffer(to, count, position, from, bytes) ((void)(from), (ssize_t)(bytes))
#define copy_from_user(to, from, bytes) ((void)(to), 1UL)
#define kstrtoint(text, base, number) ((void)(text), *(number) = 0, 1)
#define sprintf(...) 0
#define arch_debugfs_dir 0
#define debugfs_create_file(name, mode, parent, data, operations) ((void)(operations))

#include <asm/tlbbatch.h>
