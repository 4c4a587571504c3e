// A piece of freestanding code over the whole core. It exists to be built in every variant.
#pragma once

#include <cstdint>

namespace shootdown::probe {

/// How many different CPUs are in the list, plus the length of the list. The numbers are below 64.
///
/// The variants test reads the machine code of this function, hence the plain name.
extern "C" int probe_body(const std::uint32_t* cpus, int count);

}  // namespace shootdown::probe
