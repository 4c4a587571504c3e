// A small pseudo-random generator whose sequence is the same with every compiler and library, so
// that a seed names a scenario for good. Standard distributions are not specified that far.
#pragma once

#include <cstdint>

namespace shootdown::fuzz {

/// splitmix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", 2014).
/// Callers must not draw twice in one expression whose order of evaluation is open.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    state_ += 0x9e3779b97f4a7c15;
    std::uint64_t mixed = state_;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
    return mixed ^ (mixed >> 31);
  }

  /// 0 .. bound - 1. Precondition: bound > 0.
  unsigned below(unsigned bound) {
    return static_cast<unsigned>(((next() >> 32) * std::uint64_t{bound}) >> 32);
  }
  /// first .. last, both included.
  unsigned between(unsigned first, unsigned last) { return first + below(last - first + 1); }
  /// True in `times` of `out_of` cases.
  bool chance(unsigned times, unsigned out_of) { return below(out_of) < times; }
  /// 0 .. limit, where each doubling is as likely as the one before: mostly small, rarely large.
  unsigned mostly_small(unsigned limit) {
    unsigned octaves = 0;
    while (octaves < 31 && (limit >> octaves) != 0) ++octaves;
    const unsigned ceiling = (1u << below(octaves + 1)) - 1;
    return below((ceiling < limit ? ceiling : limit) + 1);
  }

 private:
  std::uint64_t state_;
};

}  // namespace shootdown::fuzz
