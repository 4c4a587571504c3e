// A scenario of the fuzzers, run on this machine: its operations one after the other, each on its
// CPU, and after each one every CPU's accesses compared with what the page tables say.
#pragma once

namespace shootdown::kernel {

/// Runs the operations that the runner has encoded: for each five digits to the base of 36, which
/// are the CPU, the kind by its place in the list of fuzz/scenario/FORMAT.md, mm, page, and the
/// count less one or the second page or mm. A space ends them. True if nothing wrong was found.
[[nodiscard]] bool run_scenario(const char* operations);

}  // namespace shootdown::kernel
