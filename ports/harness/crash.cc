#include "ports/harness/crash.h"

#include <sys/prctl.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#include <array>
#include <cinttypes>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <string>

namespace shootdown::port {

namespace {

constexpr int kFound = 1;
constexpr int kCouldNot = 2;
/// Of processor time. The first loop is waited for long, so that nothing slow is one; the runs of
/// the minimiser are known to loop.
constexpr timeval kStallLimit = {.tv_sec = 3, .tv_usec = 0};
constexpr timeval kAgain = {.tv_sec = 0, .tv_usec = 100000};
constexpr unsigned kGrace = 5;  // seconds in which a program that is asked to stop does
/// Words of the stack among which a function of the runtime has its return address.
constexpr unsigned kNear = 48;

/// Nothing of it is on the heap, which a stack that overflows has written over.
struct Watch {
  host::Machine* machine;
  model::Code::Instructions code;
  pid_t parent;
  std::uint64_t seed;
  volatile std::uint64_t runs;
  // What was reached at the last look.
  std::uint64_t last_runs;
  std::uint64_t last_step;
  // Of the crash.
  const char* title;
  std::uintptr_t offset;
};

Watch watch{};
volatile std::sig_atomic_t stopped = 0;

/// Goes on here, on the stack of the code that crashed.
[[noreturn]] void crashed() {
  host::Machine& machine = *watch.machine;
  std::array<char, 32> place{};
  std::snprintf(place.data(), place.size(), "{0x%" PRIxPTR "}", watch.offset);
  machine.report_failure({.kind = &kCrash,
                          .title = watch.title,
                          .detail = "It is at " + std::string(place.data()) + ".",
                          .first = {},
                          .second = {.step = machine.step(),
                                     .cpu = machine.running().id,
                                     .what = "crashes at " + std::string(place.data())}});
  machine.abandon_run();
}

void continue_in_crashed(ucontext_t& context) {
  greg_t* const registers = context.uc_mcontext.gregs;
  // Below what the code keeps under its stack pointer, and as a call would leave it.
  registers[REG_RSP] = ((registers[REG_RSP] - 512) & ~greg_t{15}) - 8;
  registers[REG_RIP] = static_cast<greg_t>(reinterpret_cast<std::uintptr_t>(&crashed));
}

/// The instruction of the code, or the one behind its call of the runtime; or null.
const void* place_of(const ucontext_t& context) {
  const auto* const pc = reinterpret_cast<const void*>(context.uc_mcontext.gregs[REG_RIP]);
  if (watch.code.has(pc)) return pc;
  const auto* const stack =
      reinterpret_cast<const void* const*>(context.uc_mcontext.gregs[REG_RSP]);
  for (unsigned i = 0; i < kNear; ++i) {
    if (watch.code.has(stack[i])) {
      return static_cast<const std::byte*>(stack[i]) - 1;
    }
  }
  return nullptr;
}

const char* title_of(int number) {
  switch (number) {
    case SIGFPE:
      return "the code divides by zero";
    case SIGILL:
      return "the code comes to an instruction that is none";
    default:
      return "the code uses memory that it was not given";
  }
}

[[noreturn]] void end_without_stack(std::uintptr_t offset) {
  std::array<char, 200> text{};
  const int length = std::snprintf(text.data(), text.size(),
                                   "found KERNEL the code uses more stack than there is (seed "
                                   "%" PRIu64 "), at {0x%" PRIxPTR "}; there is no scenario\n",
                                   watch.seed, offset);
  static_cast<void>(!write(STDOUT_FILENO, text.data(), static_cast<std::size_t>(length)));
  _exit(kFound);
}

void on_fault(int number, siginfo_t* info, void* argument) {
  auto& context = *static_cast<ucontext_t*>(argument);
  const void* const place = place_of(context);
  if (place == nullptr) {
    std::signal(number, SIG_DFL);  // the fault comes again
    return;
  }
  watch.title = title_of(number);
  watch.offset = watch.code.offset_of(place);
  const auto stack = static_cast<std::uintptr_t>(context.uc_mcontext.gregs[REG_RSP]);
  const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
  constexpr std::uintptr_t kReach = 4096;
  if (number == SIGSEGV && address - (stack - kReach) < 2 * kReach) end_without_stack(watch.offset);
  continue_in_crashed(context);
}

void look_again_in(timeval time) {
  const itimerval timer = {.it_interval = time, .it_value = time};
  setitimer(ITIMER_VIRTUAL, &timer, nullptr);
}

void on_tick(int /*number*/, siginfo_t* /*info*/, void* argument) {
  auto& context = *static_cast<ucontext_t*>(argument);
  if (getppid() != watch.parent) _exit(kCouldNot);
  const std::uint64_t runs = watch.runs;
  const std::uint64_t step = watch.machine->step();
  const bool is_stuck = runs == watch.last_runs && step == watch.last_step;
  watch.last_runs = runs;
  watch.last_step = step;
  const auto* const pc = reinterpret_cast<const void*>(context.uc_mcontext.gregs[REG_RIP]);
  if (!is_stuck) return;
  look_again_in(kAgain);
  // Inside the runtime nothing may be abandoned. The next look finds the code.
  if (!watch.code.has(pc)) return;
  watch.title = "the code loops, and does nothing that another CPU could notice";
  watch.offset = watch.code.offset_of(pc);
  continue_in_crashed(context);
}

void on_stop(int /*number*/, siginfo_t* /*info*/, void* /*context*/) {
  stopped = 1;
  alarm(kGrace);
}

void on_alarm(int /*number*/, siginfo_t* /*info*/, void* /*context*/) { _exit(kCouldNot); }

void handle(int number, void (*handler)(int, siginfo_t*, void*)) {
  struct sigaction action = {};
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
  sigaction(number, &action, nullptr);
}

}  // namespace

void catch_crashes(host::Machine& machine, const model::Code& code) {
  watch.machine = &machine;
  watch.code = code.instructions();
  watch.parent = getppid();
  static std::array<std::byte, 65536> stack;
  const stack_t other = {.ss_sp = stack.data(), .ss_flags = 0, .ss_size = stack.size()};
  sigaltstack(&other, nullptr);
  for (const int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL}) handle(number, &on_fault);
  for (const int number : {SIGINT, SIGTERM}) handle(number, &on_stop);
  handle(SIGALRM, &on_alarm);
  handle(SIGVTALRM, &on_tick);
  look_again_in(kStallLimit);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
}

void note_run() { watch.runs = watch.runs + 1; }

void note_seed(std::uint64_t seed) { watch.seed = seed; }

bool is_stopped() { return stopped != 0; }

}  // namespace shootdown::port
