// The mutator as AFL++ loads it: a shared library that knows scenarios and nothing of the core, so
// one serves every program. AFL++'s own mutations of bytes are off without a dictionary.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "fuzz/scenario/mutator.h"
#include "fuzz/scenario/random.h"
#include "fuzz/scenario/scenario.h"

namespace {

using shootdown::fuzz::Random;

struct Mutator {
  Random random;
  std::vector<std::uint8_t> buffer;
};

}  // namespace

extern "C" void* afl_custom_init(void* /*afl*/, unsigned seed) {
  return new Mutator{.random = Random(seed), .buffer = {}};
}

extern "C" void afl_custom_deinit(void* self) { delete static_cast<Mutator*>(self); }

/// `other` is another input of the queue. Returns how long the mutated input is, and where.
extern "C" std::size_t afl_custom_fuzz(void* self, std::uint8_t* data, std::size_t size,
                                       std::uint8_t** out, std::uint8_t* other,
                                       std::size_t other_size, std::size_t max_size) {
  auto& [random, buffer] = *static_cast<Mutator*>(self);
  buffer.resize(std::min(max_size, shootdown::fuzz::kMaxBytes));
  *out = buffer.data();
  const auto seed = static_cast<std::uint32_t>(random.next());
  if (other != nullptr && random.chance(1, 8)) {
    return shootdown::fuzz::cross_over({data, size}, {other, other_size}, buffer, seed);
  }
  size = std::min(size, buffer.size());
  std::memcpy(buffer.data(), data, size);
  return shootdown::fuzz::mutate(buffer, size, seed, nullptr);
}
