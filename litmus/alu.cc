#include "litmus/alu.h"

namespace shootdown::host::litmus {

namespace {

bool is_negative(std::uint64_t value, std::uint8_t width) {
  return ((value >> ((8U * width) - 1)) & 1) != 0;
}

void set_result(std::uint64_t result, std::uint8_t width, Flags& flags) {
  flags.zero = zero_extended(result, width) == 0;
  flags.sign = is_negative(result, width);
}

std::uint64_t sum(std::uint64_t a, std::uint64_t b, std::uint8_t width, Flags& flags) {
  const std::uint64_t result = zero_extended(a + b, width);
  set_result(result, width, flags);
  flags.carry = result < a;
  flags.overflow = is_negative((a ^ result) & (b ^ result), width);
  return result;
}

std::uint64_t difference(std::uint64_t a, std::uint64_t b, std::uint8_t width, Flags& flags) {
  const std::uint64_t result = zero_extended(a - b, width);
  set_result(result, width, flags);
  flags.carry = a < b;
  flags.overflow = is_negative((a ^ b) & (a ^ result), width);
  return result;
}

std::uint64_t logical(std::uint64_t result, std::uint8_t width, Flags& flags) {
  set_result(result, width, flags);
  flags.carry = false;
  flags.overflow = false;
  return result;
}

}  // namespace

std::uint64_t compute(Op op, std::uint8_t width, std::uint64_t destination, std::uint64_t source,
                      Flags& flags) {
  const std::uint64_t a = zero_extended(destination, width);
  const std::uint64_t b = zero_extended(source, width);
  const std::uint64_t bit = std::uint64_t{1} << (b % (std::uint64_t{8} * width));
  const bool carry = flags.carry;
  std::uint64_t result = a;
  switch (op) {
    case Op::add:
    case Op::xadd:
      return sum(a, b, width, flags);
    case Op::subtract:
      return difference(a, b, width, flags);
    case Op::cmp:
      difference(a, b, width, flags);
      return a;
    case Op::bit_and:
      return logical(a & b, width, flags);
    case Op::test:
      logical(a & b, width, flags);
      return a;
    case Op::bit_or:
      return logical(a | b, width, flags);
    case Op::bit_xor:
      return logical(a ^ b, width, flags);
    case Op::inc:
      result = sum(a, 1, width, flags);
      flags.carry = carry;
      return result;
    case Op::dec:
      result = difference(a, 1, width, flags);
      flags.carry = carry;
      return result;
    case Op::neg:
      return difference(0, a, width, flags);
    case Op::bit_not:
      return zero_extended(~a, width);
    case Op::bit_test:
    case Op::bit_set:
    case Op::bit_reset:
      flags.carry = (a & bit) != 0;
      if (op == Op::bit_test) return a;
      return op == Op::bit_set ? a | bit : a & ~bit;
    default:
      return b;
  }
}

bool satisfied(std::uint8_t condition, const Flags& flags) {
  const bool less = flags.sign != flags.overflow;
  bool result = false;
  switch (condition >> 1) {
    case 0:
      result = flags.overflow;
      break;
    case 1:
      result = flags.carry;
      break;
    case 2:
      result = flags.zero;
      break;
    case 3:
      result = flags.carry || flags.zero;
      break;
    case 4:
      result = flags.sign;
      break;
    case 6:
      result = less;
      break;
    case 7:
      result = less || flags.zero;
      break;
    default:
      break;
  }
  return ((condition & 1) != 0) != result;
}

}  // namespace shootdown::host::litmus
