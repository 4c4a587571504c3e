// The HAL of libshootdown.a: facts of x86-64, and the kernel's hooks behind C functions.
#pragma once

// Before any header of a standard library, which a kernel's macros would break.
#include "core/broadcast.h"
#include "core/shootdown.h"
#include "hal/x86_64/hal_for.h"
#include "kernel-glue/embed/shootdown.h"

namespace shootdown::embed {

/// What the hooks say.
struct HookedKernel {
  static constexpr CpuId kMaxCpus = SD_MAX_CPUS;

  /// Looked at on every call: behind a number that is out of range lies other memory.
  static CpuId this_cpu() {
    const CpuId cpu = sd_hook_this_cpu();
    if (cpu >= kMaxCpus) [[unlikely]] {
      fail({.rule = Rule::r13, .what = "sd_hook_this_cpu() is out of range", .where = {}});
    }
    return cpu;
  }
  static void disable_preemption() { sd_hook_preempt_disable(); }
  static void enable_preemption() { sd_hook_preempt_enable(); }
  static bool in_interrupt() { return sd_hook_in_interrupt() != 0; }
  static void send_call_function_ipi(const CpuMask<kMaxCpus>& targets) {
    std::uint64_t words[CpuMask<kMaxCpus>::kWords];
    const auto count = static_cast<unsigned>(targets.used());
    for (unsigned i = 0; i < count; ++i) words[i] = targets.word(i);
    sd_hook_send_interrupt(words, count);
  }
  static void report_unanswered(const Unanswered& report) {
    const sd_unanswered told = {.sender = report.sender,
                                .target = report.target,
                                .since = report.since,
                                .now = report.now,
                                .what = report.subject.what,
                                .start = report.subject.start,
                                .end = report.subject.end,
                                .last = report.last ? 1 : 0};
    sd_hook_unanswered(&told);
  }
  [[noreturn]] static void fail(const Failure& failure) {
    const sd_failure told = {.what = failure.what,
                             .rule = static_cast<unsigned>(failure.rule),
                             .file = failure.where.file_name(),
                             .line = failure.where.line()};
    sd_hook_fail(&told);
    for (;;) asm volatile("cli; hlt");
  }
};

using EmbeddedHal = x86::WithBroadcast<x86::HalFor<HookedKernel>>;

inline void entered() {}

}  // namespace shootdown::embed
