// Which CPU holds which cache line, and how: a directory of MESI states for the memory of the core.
//
// It is told every load and store of the code that is counted or timed, of shared words and of
// plain data alike: that code is compiled with the compiler's own instrumentation of memory
// accesses (accesses.h). Caches are unbounded: a line that a CPU holds stays until another CPU's
// store takes it away.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <unordered_map>

#include "core/types.h"
#include "hal/timed/cpu_set.h"

namespace shootdown::timed {

/// What became of the lines of one name.
struct Moves {
  std::set<std::uint64_t> lines{};
  std::uint64_t count{0};
};

/// Where a CPU that comes for a line gets it from.
enum class Source : std::uint8_t {
  own_cache,  // it holds the line as it needs it
  memory,     // no CPU holds it
  sharers,    // others hold it, or it holds it too and wants to write
  owner,      // another CPU holds it alone and has written
};

struct Line {
  std::string name;
  std::size_t index{0};  // among the lines that have a name, in the order in which they got it
  CpuSet holders{};      // CPUs that hold it; shared if more than one
  CpuId held_by{0};      // how many these are
  CpuId owner{kNoCpu};   // the only holder, which has written
  CpuSet took_part{};    // CPUs to or from which it moved while counting
  CpuSet users{};        // CPUs that read or wrote it while counting

  [[nodiscard]] Source source_for(CpuId cpu, bool write) const;
};

class Directory {
 public:
  /// `line_bytes`: other lines than the processor's show what more, or less, false sharing does.
  explicit Directory(std::size_t line_bytes = kCacheLine) : line_bytes_(line_bytes) {}

  /// The lines of an object get a name, unless they have one. Lines behind the first have a number
  /// as well, if `numbered`.
  void name(const void* begin, std::size_t bytes, const std::string& name, bool numbered = false);
  void forget();
  [[nodiscard]] std::size_t size() const { return lines_.size(); }

  /// From here on moves are recorded, or no longer.
  void start();
  void stop() { counting_ = false; }

  /// A load or store of `cpu`. Lines without a name are ignored.
  void access(CpuId cpu, const void* address, std::size_t bytes, bool write) {
    for_each_line(address, bytes,
                  [&](std::uint64_t number, Line& line) { take(number, line, cpu, write); });
  }

  /// The same in two steps, for a caller that looks at each line before it moves: `visit(number,
  /// line)` for each line that has a name, which calls `take`.
  template <class Visit>
  void for_each_line(const void* address, std::size_t bytes, Visit&& visit) {
    if (bytes == 0) return;
    const auto first = reinterpret_cast<std::uintptr_t>(address);
    const std::uint64_t last = (first + bytes - 1) / line_bytes_;
    for (std::uint64_t number = first / line_bytes_; number <= last; ++number) {
      if (const auto found = lines_.find(number); found != lines_.end()) {
        visit(number, found->second);
      }
    }
  }
  void take(std::uint64_t number, Line& line, CpuId cpu, bool write);

  /// How often a CPU read or wrote a line that it did not hold, or not in the needed state, by
  /// name.
  [[nodiscard]] const std::map<std::string, Moves>& moves() const { return moves_; }
  /// How many lines of each name any CPU has used, or this one.
  [[nodiscard]] std::map<std::string, unsigned> used() const;
  [[nodiscard]] std::map<std::string, unsigned> used_by(CpuId cpu) const;
  /// The lines, by name, that moved to both CPUs, or from one to the other.
  [[nodiscard]] std::map<std::string, unsigned> between(CpuId one, CpuId other) const;

 private:
  std::size_t line_bytes_;
  std::unordered_map<std::uint64_t, Line> lines_;
  std::map<std::string, Moves> moves_;
  bool counting_{false};
};

}  // namespace shootdown::timed
