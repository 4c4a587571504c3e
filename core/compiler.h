// What compilers and their libraries do not do alike.
#pragma once

#include <cstdint>
#if __has_include(<source_location>)
#include <source_location>
#endif

// g++ calls an attribute of another compiler a mistake unless it is told of it. One before 12
// cannot be told: see macros_begin.inc.
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#pragma GCC diagnostic ignored_attributes "clang::"
#endif

namespace shootdown {

#ifdef __cpp_lib_source_location

using SourceLocation = std::source_location;

#else

/// The place of a call, as a default argument. Without the standard library's, or with a compiler
/// too old for it (clang before 16).
class SourceLocation {
 public:
  constexpr SourceLocation() = default;
  [[nodiscard]] static constexpr SourceLocation current(const char* file = __builtin_FILE(),
                                                        const char* function = __builtin_FUNCTION(),
                                                        std::uint32_t line = __builtin_LINE()) {
    return SourceLocation(file, function, line);
  }

  [[nodiscard]] constexpr const char* file_name() const { return file_; }
  [[nodiscard]] constexpr const char* function_name() const { return function_; }
  [[nodiscard]] constexpr std::uint32_t line() const { return line_; }

 private:
  constexpr SourceLocation(const char* file, const char* function, std::uint32_t line)
      : file_(file), function_(function), line_(line) {}

  const char* file_{""};
  const char* function_{""};
  std::uint32_t line_{0};
};

#endif

/// How many bits of `word` are set. The built-in of compilers, and std::popcount with it, becomes a
/// call of their run-time library where the processor is not known to have the instruction.
[[nodiscard]] constexpr std::uint32_t count_bits(std::uint64_t word) {
  // Sums of 2, 4 and 8 bits beside each other, then all of them by one multiplication.
  word -= (word >> 1) & 0x5555'5555'5555'5555;
  word = (word & 0x3333'3333'3333'3333) + ((word >> 2) & 0x3333'3333'3333'3333);
  word = (word + (word >> 4)) & 0x0f0f'0f0f'0f0f'0f0f;
  return static_cast<std::uint32_t>((word * 0x0101'0101'0101'0101) >> 56);
}

}  // namespace shootdown
