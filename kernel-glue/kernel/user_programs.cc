#include "kernel-glue/kernel/user_programs.h"

#include "kernel-glue/kernel/user_code.h"

namespace shootdown::kernel {
namespace {

extern "C" const std::byte user_text_begin[];
extern "C" const std::byte user_text_end[];

using user::exit_with;
using user::system_call;
using user::word_at;

}  // namespace

SHOOTDOWN_USER_PROGRAM void read_on_demand(UserPage* page, std::uint64_t /*argument*/) {
  std::uint64_t done = 0;
  while (!page->stop.load(std::memory_order_acquire)) {
    // Acquire pairs with the release in `ask`: the address is visible with the round.
    const std::uint64_t round = page->asked.load(std::memory_order_acquire);
    if (round == done) {
      asm volatile("pause" ::: "memory");
      continue;
    }
    if (page->address != 0) page->found = word_at(page->address);
    page->answered.store(round, std::memory_order_release);
    done = round;
  }
  exit_with(0);
}

SHOOTDOWN_USER_PROGRAM void read_once(UserPage* /*page*/, std::uint64_t address) {
  exit_with(word_at(address));
}

SHOOTDOWN_USER_PROGRAM void increment_once(UserPage* /*page*/, std::uint64_t address) {
  const std::uint64_t sum = word_at(address) + 1;
  word_at(address) = sum;
  exit_with(sum);
}

SHOOTDOWN_USER_PROGRAM void count_until_stopped(UserPage* page, std::uint64_t address) {
  while (!page->stop.load(std::memory_order_acquire)) {
    word_at(address) = word_at(address) + 1;
  }
  exit_with(0);
}

SHOOTDOWN_USER_PROGRAM void call_once(UserPage* /*page*/, std::uint64_t number) {
  exit_with(system_call(number, 5));
}

SHOOTDOWN_USER_PROGRAM void halt(UserPage* /*page*/, std::uint64_t /*argument*/) {
  for (;;) asm volatile("hlt");
}

std::uint64_t user_program_pages() {
  return static_cast<std::uint64_t>(user_text_end - user_text_begin + kPageBytes - 1) / kPageBytes;
}

PhysAddr user_program_frame(std::uint64_t page) {
  return image_physical(user_text_begin + page * kPageBytes);
}

VirtAddr user_address(UserProgram program) {
  return kUserPrograms +
         (reinterpret_cast<VirtAddr>(program) - reinterpret_cast<VirtAddr>(user_text_begin));
}

}  // namespace shootdown::kernel
