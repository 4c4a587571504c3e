// Mutation and crossover that know what a scenario is. They see bytes as operations and
// deviations, change one thing that has a meaning, and write canonical bytes again. A share of the
// calls still goes to the engine's own byte mutator, so that inputs which only bytes can express
// (cut records, aliases of a value, left-over bytes) stay reachable.
//
//   extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max, unsigned
//   seed) {
//     return shootdown::fuzz::mutate({data, max}, size, seed, LLVMFuzzerMutate);
//   }
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "fuzz/scenario/random.h"
#include "fuzz/scenario/scenario.h"

namespace shootdown::fuzz {

/// The engine's byte mutator: changes data[0 .. size) in place, returns the new size <= max_size.
using ByteMutator = std::size_t (*)(std::uint8_t* data, std::size_t size, std::size_t max_size);

/// Mutates the input in buffer[0 .. size) and returns its new size, which is 0 only for an empty
/// buffer. The result depends on the input, on `seed` and on `mutate_bytes`, which may be null.
std::size_t mutate(std::span<std::uint8_t> buffer, std::size_t size, std::uint32_t seed,
                   ByteMutator mutate_bytes);

/// Writes a scenario with parts of both inputs and returns its size, at most out.size().
std::size_t cross_over(std::span<const std::uint8_t> first, std::span<const std::uint8_t> second,
                       std::span<std::uint8_t> out, std::uint32_t seed);

/// One to a few structural changes. The result is normalised and, where that is possible at all,
/// differs from the argument.
void mutate(Scenario& scenario, Random& random);

/// Takes each part of the scenario from one parent, or splices the part from both.
void cross_over(const Scenario& first, const Scenario& second, Random& random, Scenario& child);

}  // namespace shootdown::fuzz
