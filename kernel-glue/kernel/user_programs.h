// What runs in ring 3: small functions whose code is mapped into user spaces.
//
// Each is compiled into the section .user.text, refers to nothing outside itself, and so runs at
// any address that it is mapped at. It gets the address of its CPU's UserPage and an argument, and
// ends with the system call `exit`.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "hal/x86_64/atomic.h"
#include "kernel-glue/kernel/memory.h"

namespace shootdown::kernel {

/// Where user spaces have the programs, and the pages of the CPUs. The numbers of these pages are
/// away from those of the kernel's data and the tests' pages, modulo the emulator's TLB.
inline constexpr VirtAddr kUserPrograms = 0x40'0060'0000;
inline constexpr VirtAddr kUserPages = 0x40'0078'0000;

[[nodiscard]] inline VirtAddr user_page_of(CpuId cpu) { return kUserPages + cpu * kPageBytes; }

/// A page that one program and the kernel share. The program's stack grows down from its end.
struct UserPage {
  // What `read_on_demand` is asked, and its answer.
  VirtAddr address{0};  // published by `asked`
  x86::Atomic<std::uint64_t> asked{0};
  x86::Atomic<bool> stop{false};
  alignas(kCacheLine) std::uint64_t found{0};  // published by `answered`
  x86::Atomic<std::uint64_t> answered{0};
};
static_assert(sizeof(UserPage) <= kPageBytes / 2);

using UserProgram = void (*)(UserPage* page, std::uint64_t argument);

/// Reads eight bytes at `address`, if it is not 0, whenever `asked` changes; exits at `stop`.
void read_on_demand(UserPage* page, std::uint64_t argument);

/// Exits with the eight bytes at `address`.
void read_once(UserPage* page, std::uint64_t address);

/// Adds 1 to the eight bytes at `address` and exits with the sum.
void increment_once(UserPage* page, std::uint64_t address);

/// Adds 1 to the eight bytes at `address` again and again; exits at `stop`.
void count_until_stopped(UserPage* page, std::uint64_t address);

/// Makes the system call `number` with argument 5 and exits with the answer.
void call_once(UserPage* page, std::uint64_t number);

/// Executes an instruction that user mode may not.
void halt(UserPage* page, std::uint64_t argument);

/// The programs' code, for mapping.
[[nodiscard]] std::uint64_t user_program_pages();
[[nodiscard]] PhysAddr user_program_frame(std::uint64_t page);
/// Where a program begins in a user space.
[[nodiscard]] VirtAddr user_address(UserProgram program);

}  // namespace shootdown::kernel
