// What user programs are written with: everything here becomes part of the program that uses it.
#pragma once

#include <cstdint>

#include "core/types.h"
#include "kernel-glue/kernel/layout.h"
#include "kernel-glue/kernel/system_call.h"

// A program goes to the section that user spaces map, and takes along what it calls.
#define SHOOTDOWN_USER_PROGRAM [[gnu::section(".user.text"), gnu::flatten]]

namespace shootdown::kernel::user {

inline std::uint64_t system_call(std::uint64_t number, std::uint64_t a, std::uint64_t b = 0) {
  std::uint64_t answer = number;
  asm volatile("int %1"
               : "+a"(answer)
               : "i"(SHOOTDOWN_SYSTEM_CALL_VECTOR), "D"(a), "S"(b)
               : "memory");
  return answer;
}

[[noreturn]] inline void exit_with(std::uint64_t value) {
  for (;;) system_call(SHOOTDOWN_CALL_EXIT, value);
}

inline volatile std::uint64_t& word_at(VirtAddr address) {
  return *reinterpret_cast<volatile std::uint64_t*>(address);
}

}  // namespace shootdown::kernel::user
