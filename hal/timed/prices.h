// Price lists: what each thing that a CPU does costs on one kind of machine.
//
// A list is a text file of `prices/`, one price a line, each with its source. README.md has the
// format.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/types.h"

namespace shootdown::timed {

/// Picoseconds: prices add up exactly, and runs repeat.
using Time = std::uint64_t;
inline constexpr Time kNever = ~Time{0};

/// CPUs that are equally near to each other: `cpus` of them with neighbouring numbers, 0 for all.
struct Level {
  std::string name;
  CpuId cpus{0};
  Time line{0};  // a cache line goes from one of these CPUs to another
};

struct Prices {
  std::vector<Level> levels;  // the nearest first; the last is all CPUs
  /// Loads of lines of one kind, one after the other, that a CPU has on their way at the same time.
  unsigned loads{1};

  // What an instruction costs besides.
  Time block{0};   // the instructions of a basic block
  Time access{0};  // a load or store that finds its line in the CPU's own cache
  Time locked{0};  // a locked instruction that finds it there
  Time fence{0};   // MFENCE, or MFENCE and LFENCE
  Time pause{0};
  Time clock{0};  // RDTSC

  // Cache lines.
  Time memory{0};  // from memory, if no CPU has the line
  Time reader{0};  // a line's home is busy for so long with each CPU that reads a shared line
  Time sharer{0};  // a writer waits so much longer for each further CPU that shares the line

  // Interrupts.
  Time command{0};        // a write to the interrupt command register
  Time delivery{0};       // from there to the target, besides the way that a line takes
  Time next_delivery{0};  // the targets of one command hear of it one after the other
  Time entry{0};
  Time exit{0};

  // The TLB.
  Time invlpg{0};
  Time invpcid{0};
  Time cr3{0};
  Time cr4{0};
  Time invlpgb{0};         // until the next instruction
  Time next_broadcast{0};  // each CPU hears of it one after the other
  Time tlbsync{0};         // besides the wait

  /// The nearest level that both CPUs are in.
  [[nodiscard]] const Level& between(CpuId one, CpuId other) const;
};

/// One price by the name that it has in files.
struct PriceName {
  const char* name;
  Time Prices::* price;
};
[[nodiscard]] const std::vector<PriceName>& price_names();

/// What a price list says. `problem` is empty, or "line N: ...".
struct ParsedPrices {
  Prices prices;
  std::string problem;
};
[[nodiscard]] ParsedPrices parse_prices(std::string_view text);

}  // namespace shootdown::timed
