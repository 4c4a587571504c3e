// Small scenarios that are explored exhaustively: every interleaving that can make a difference.
//
// A proof is a scenario file whose comments say how to explore it, so that every other tool reads
// it, too:
//
//   # title: a CPU switches in while a page is flushed
//   # explore: setup=2 fill=3 fill=3
//
// `setup=N`: the first N operations of each CPU run before, in the default schedule. `fill=PAGE`:
// each CPU attempts to cache the page speculatively at some moment, once for each time it is named;
// `fill=PAGE:LEVEL`: it walks for the page, and stops after the entry of that level. Pages from
// kPages on are the kernel's. `evict=PAGE`: each CPU drops at some moment the translation of the
// page that it has then, and at another the pointers to tables on the way. `nmi=PAGE`: each CPU
// takes an NMI at some moment, whose handler reads the page if it may (with nmi=1). `device=PAGE`,
// `device=PAGE:LEVEL`: the device walks for the page in mm 0 at some moment (with device=1).
// `lose=N`, `duplicate=N`: at so many moments it is decided for each CPU that the next interrupt to
// it gets lost, or one arrives that no CPU has sent (with faults=1).
// `migrate=N`: so often the threads of two CPUs change places, or an attempt is in vain. `own=1`:
// interrupts and NMIs come also before accesses to a CPU's own words.
// `preemptions=N`: so often the host may take each CPU's processor (with backend=kvm).
// `deviations=N`: not every interleaving, but every run with at most N steps that differ from the
// default schedule. With compiler_reordering=1 there must be such a bound.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "fuzz/run/runner.h"
#include "fuzz/scenario/scenario.h"
#include "hal/host/explore.h"

namespace shootdown::fuzz {

struct Proof {
  std::string title;
  Scenario scenario;
  ControlledRun run{};
  unsigned deviations{host::kUnbounded};
};

/// Reads a proof. Returns false and fills `error` with the file, the line and the fix.
[[nodiscard]] bool load_proof(const std::string& path, Proof& proof, std::string& error);
/// The same from a text that was read already; `name` is for errors.
[[nodiscard]] bool parse_proof(std::string_view text, const std::string& name, Proof& proof,
                               std::string& error);

/// Empty if the explorer can explore it; else the reason and the fix.
[[nodiscard]] std::string why_not_explored(const Proof& proof);

struct ProofOptions {
  std::uint64_t most_executions{~std::uint64_t{0}};
  /// Random runs that must end in states that the exploration has seen.
  unsigned samples{1000};
  std::function<void(const host::ExploreResult&)> progress{};
};

struct ProofResult {
  host::ExploreResult explored;
  std::string guarantee;
  std::uint64_t outcomes{0};    // different ways in which runs ended
  double plain{0};              // estimated number of all interleavings
  unsigned samples_missing{0};  // random runs that ended in a way never seen: the search is unsound
  double seconds{0};
};

/// Explores. On a failure `explored.schedule` leads to it, and the runner holds its report.
[[nodiscard]] ProofResult prove(Runner& runner, const Proof& proof, const ProofOptions& options);

/// The story of the run that `schedule` leads to.
[[nodiscard]] std::string tell(Runner& runner, const Proof& proof,
                               const std::vector<host::Step>& schedule);

}  // namespace shootdown::fuzz
