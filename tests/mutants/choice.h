// Which of the mutants runs that a program holds. The code that tests/mutants/joint.py writes asks
// it.
#pragma once

#include <cstdint>
#include <span>
#include <type_traits>

namespace shootdown::mutants {

/// The CRC-32 of its name, or 0: the clean core.
using Mutant = std::uint32_t;

/// boot_mutant_test.py finds it in an image by its mark.
struct Choice {
  char mark[24];
  Mutant mutant;
};
inline constinit Choice choice{"the mutant that runs", 0};

/// What is evaluated by the compiler is the clean core's.
constexpr bool is(Mutant one) { return !std::is_constant_evaluated() && choice.mutant == one; }

struct Named {
  const char* name;
  Mutant mutant;
};

/// Those that the program holds.
std::span<const Named> all();

}  // namespace shootdown::mutants
