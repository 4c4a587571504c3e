// Which CPU holds which cache line, and how: a directory of MESI states for the memory of the core.
//
// It is told every load and store of the code that is counted, of shared words and of plain data
// alike: that code is compiled with the compiler's own instrumentation of memory accesses
// (accesses.cc). Caches are unbounded: a line that a CPU holds stays until another CPU's store
// takes it away.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "core/types.h"

namespace shootdown::ledger {

/// What became of the lines of one name.
struct Moves {
  std::set<std::uint64_t> lines{};
  std::uint64_t count{0};
};

class Directory {
 public:
  /// The lines of an object get a name. Lines behind the first have a number as well, if
  /// `numbered`.
  void name(const void* begin, std::size_t bytes, const std::string& name, bool numbered = false);
  void forget();

  /// From here on moves are recorded, or no longer.
  void start();
  void stop() { counting_ = false; }

  /// A load or store of `cpu`. Lines without a name are ignored.
  void access(CpuId cpu, const void* address, std::size_t bytes, bool write);

  /// How often a CPU read or wrote a line that it did not hold, or not in the needed state, by
  /// name.
  [[nodiscard]] const std::map<std::string, Moves>& moves() const { return moves_; }
  /// The names of all lines that were used.
  [[nodiscard]] const std::set<std::string>& used() const { return used_; }
  /// The lines, by name, that moved to both CPUs, or from one to the other.
  [[nodiscard]] std::map<std::string, unsigned> between(CpuId one, CpuId other) const;

 private:
  struct Line {
    std::uint64_t holders{0};    // CPUs that hold it; shared if more than one
    CpuId owner{kNoCpu};         // the only holder, which has written
    std::uint64_t took_part{0};  // CPUs to or from which it moved while counting
  };

  void access_line(std::uint64_t number, CpuId cpu, bool write);

  std::map<std::uint64_t, std::string> names_;
  std::map<std::uint64_t, Line> lines_;
  std::map<std::string, Moves> moves_;
  std::set<std::string> used_;
  bool counting_{false};
};

/// The one of this program.
Directory& directory();

}  // namespace shootdown::ledger
