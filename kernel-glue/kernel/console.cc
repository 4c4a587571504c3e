#include "kernel-glue/kernel/console.h"

#include <cstddef>

#include "hal/x86_64/instructions.h"

namespace shootdown::kernel {
namespace {

constexpr std::uint16_t kCom1 = 0x3f8;
constexpr std::uint16_t kInterruptEnable = kCom1 + 1;
constexpr std::uint16_t kFifoControl = kCom1 + 2;
constexpr std::uint16_t kLineControl = kCom1 + 3;
constexpr std::uint16_t kLineStatus = kCom1 + 5;
constexpr std::uint8_t kDivisorAccess = 0x80;
constexpr std::uint8_t kEightBitsOneStop = 0x03;
constexpr std::uint8_t kHoldingEmpty = 0x20;
constexpr std::uint8_t kAllSent = 0x40;

void wait_for_status(std::uint8_t bit) {
  while ((x86::in8(kLineStatus) & bit) == 0) x86::pause();
}

}  // namespace

void initialize_console() {
  x86::out8(kInterruptEnable, 0);
  x86::out8(kLineControl, kDivisorAccess);
  x86::out8(kCom1, 1);  // 115200 baud
  x86::out8(kInterruptEnable, 0);
  x86::out8(kLineControl, kEightBitsOneStop);
  x86::out8(kFifoControl, 0x07);  // on, both directions cleared
}

void drain_console() { wait_for_status(kAllSent); }

void put(char character) {
  wait_for_status(kHoldingEmpty);
  x86::out8(kCom1, static_cast<std::uint8_t>(character));
}

void put(const char* text) {
  for (; *text != '\0'; ++text) put(*text);
}

void put(Hex number) {
  put("0x");
  bool started = false;
  for (int shift = 60; shift >= 0; shift -= 4) {
    const auto digit = (number.value >> shift) & 0xf;
    started = started || digit != 0 || shift == 0;
    if (started) put("0123456789abcdef"[digit]);
  }
}

void put(std::uint64_t number) {
  char digits[20];
  std::size_t count = 0;
  do {
    digits[count++] = static_cast<char>('0' + number % 10);
    number /= 10;
  } while (number != 0);
  while (count > 0) put(digits[--count]);
}

}  // namespace shootdown::kernel
