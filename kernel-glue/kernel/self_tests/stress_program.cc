#include "kernel-glue/kernel/self_tests/stress_program.h"

#include "kernel-glue/kernel/user_code.h"

namespace shootdown::kernel {
namespace {

using user::exit_with;
using user::system_call;
using user::word_at;

inline VirtAddr page_of(std::uint64_t cpu, std::uint64_t index) {
  return kStressBase + cpu * kStressDistance + index * kPageBytes;
}

inline std::uint64_t cpu_of(const UserPage* page) {
  return (reinterpret_cast<VirtAddr>(page) - kUserPages) / kPageBytes;
}

inline StressState& state_in(UserPage* page) { return *reinterpret_cast<StressState*>(page); }

[[noreturn]] inline void exit_as(StressExit how) { exit_with(static_cast<std::uint64_t>(how)); }

inline std::uint64_t call(StressCall number, VirtAddr address, VirtAddr second = 0) {
  return system_call(static_cast<std::uint64_t>(number), address, second);
}

inline std::uint64_t draw(StressState& state) {
  state.random ^= state.random << 13;
  state.random ^= state.random >> 7;
  state.random ^= state.random << 17;
  return state.random >> 16;
}

inline void check_page(const StressState& state, std::uint64_t cpu, std::uint64_t index) {
  if (word_at(page_of(cpu, index)) != state.expected[index]) exit_as(StressExit::wrong_data);
}

inline void check_all(const StressState& state, std::uint64_t cpu) {
  for (std::uint64_t index = 0; index < kStressPages; ++index) check_page(state, cpu, index);
}

/// A system call on a page of this CPU, after which it reads as 0.
inline void lose(StressState& state, StressCall number, std::uint64_t cpu, std::uint64_t index) {
  call(number, page_of(cpu, index));
  state.expected[index] = 0;
}

inline void move(StressState& state, std::uint64_t cpu, std::uint64_t from, std::uint64_t to) {
  if (call(StressCall::move, page_of(cpu, from), page_of(cpu, to)) == 0) return;
  state.expected[to] = state.expected[from];
  state.expected[from] = 0;
}

/// One step other than plain loads and stores. Comparisons, because a table of jumps would be data
/// outside the program.
inline void operate(StressState& state, std::uint64_t cpu, std::uint64_t kind) {
  const std::uint64_t random = draw(state);
  const std::uint64_t index = random % kStressPages;
  const VirtAddr own = page_of(cpu, index);
  // Another CPU's, where there is another.
  const std::uint64_t others = state.cpus == 1 ? 1 : state.cpus - 1;
  const VirtAddr other = page_of((cpu + 1 + (random >> 8) % others) % state.cpus, index);
  if (kind == 0) lose(state, StressCall::unmap, cpu, index);
  if (kind == 1) lose(state, StressCall::reclaim, cpu, index);
  if (kind == 2) call(StressCall::protect, own);
  if (kind == 3) call(StressCall::protect_early, own);
  if (kind >= 4 && kind < 9) call(StressCall::migrate, other);
  if (kind == 9) call(StressCall::clean, other);
  if (kind == 10) move(state, cpu, index, (index + 1) % kStressPages);
  if (kind == 11) exit_as(StressExit::wants_fork);
  if (kind == 14) exit_as(StressExit::wants_away);
  if (kind == 12) check_all(state, cpu);
  if (kind == 13) {
    call(StressCall::unmap_all, page_of(cpu, 0));
    for (std::uint64_t& expected : state.expected) expected = 0;
  }
}

}  // namespace

SHOOTDOWN_USER_PROGRAM void begin_stress(UserPage* page, std::uint64_t argument) {
  StressState& state = state_in(page);
  const std::uint64_t seed = argument >> 40;
  state.random = (seed << 8 | (cpu_of(page) + 1)) * 0x9e37'79b9'7f4a'7c15;
  state.cpus = argument & 0xff;
  state.steps_left = argument >> 8 & 0xffff'ffff;
  for (std::uint64_t& expected : state.expected) expected = 0;
  exit_as(StressExit::done);
}

SHOOTDOWN_USER_PROGRAM void stress(UserPage* page, std::uint64_t /*argument*/) {
  StressState& state = state_in(page);
  const std::uint64_t cpu = cpu_of(page);
  while (state.steps_left != 0) {
    --state.steps_left;
    const std::uint64_t random = draw(state);
    const std::uint64_t index = (random >> 8) % kStressPages;
    const std::uint64_t kind = random % 33;
    if (kind < 8) {
      state.expected[index] = random;
      word_at(page_of(cpu, index)) = random;
    } else if (kind < 18) {
      check_page(state, cpu, index);
    } else {
      operate(state, cpu, kind - 18);
    }
  }
  check_all(state, cpu);
  exit_as(StressExit::done);
}

SHOOTDOWN_USER_PROGRAM void check_child(UserPage* page, std::uint64_t /*argument*/) {
  StressState& state = state_in(page);
  const std::uint64_t cpu = cpu_of(page);
  check_all(state, cpu);
  for (std::uint64_t index = 0; index < kStressPages; ++index) {
    state.expected[index] = ~state.expected[index];
    word_at(page_of(cpu, index)) = state.expected[index];
  }
  check_all(state, cpu);
  exit_as(StressExit::done);
}

}  // namespace shootdown::kernel
