// Random scenarios from a seed, in the manner of swarm testing: each run switches whole kinds of
// operation off and weighs the others wildly, because a uniform mix hides what needs many of one
// kind and none of another.
#pragma once

#include <array>
#include <cstdint>

#include "fuzz/scenario/focus.h"
#include "fuzz/scenario/kinds.h"
#include "fuzz/scenario/random.h"
#include "fuzz/scenario/scenario.h"

namespace shootdown::fuzz {

/// Chooses among kCount alternatives with weights that are themselves drawn at random.
template <unsigned kCount>
class WildWeights {
 public:
  /// Only the alternatives whose bit is set in `among` have a chance. At least one is.
  explicit WildWeights(Random& random, std::uint64_t among = (std::uint64_t{1} << kCount) - 1) {
    const unsigned survivors = random.between(1, 4);  // In quarters: how many stay switched on.
    unsigned last = 0;
    for (unsigned i = 0; i < kCount; ++i) {
      if (((among >> i) & 1) == 0) continue;
      last = i;
      const unsigned wild = 1u << random.below(7);
      weights_[i] = random.chance(survivors, 4) ? wild : 0;
      total_ += weights_[i];
    }
    if (total_ == 0) total_ = weights_[last] = 1;
  }
  [[nodiscard]] bool allows(unsigned index) const { return weights_[index] != 0; }
  [[nodiscard]] unsigned pick(Random& random) const {
    unsigned left = random.below(total_);
    unsigned index = 0;
    for (; left >= weights_[index]; ++index) left -= weights_[index];
    return index;
  }

 private:
  std::array<unsigned, kCount> weights_{};
  unsigned total_{0};
};

/// Which kinds of operation a run is made of.
enum class Mix : std::uint8_t {
  basic,   // without those that came later: what they crowd out is what most bugs need
  memory,  // what tasks and the memory manager do
  all,
};

/// What one run prefers: kinds, and a few pages and mms on which its operations meet.
class Swarm {
 public:
  Swarm(Random& random, const Header& header, Mix mix = Mix::all);
  /// Of these kinds of operation only, a bit each.
  Swarm(Random& random, const Header& header, std::uint64_t kinds);
  /// From here on all operations are about one page or two neighbours of one mm, which in half of
  /// the runs are large.
  void meet(Random& random);
  /// The same pages and mms, other kinds of operation: another role in the same run.
  [[nodiscard]] Swarm with_other_kinds(Random& random) const;
  /// Operations and deviations are normalised for the header.
  [[nodiscard]] Op op(Random& random) const;
  [[nodiscard]] Op op(Random& random, OpKind kind) const;
  [[nodiscard]] unsigned mms() const { return mms_; }
  /// The same page, mm and count as those of `model`, as far as the kind has them.
  [[nodiscard]] Op op_like(const Op& model, OpKind kind) const;
  /// Maps the pages that the run prefers, in the mm that it prefers.
  [[nodiscard]] Op map_favourites() const;
  [[nodiscard]] OpKind op_kind(Random& random) const;
  [[nodiscard]] bool allows(OpKind kind) const;
  [[nodiscard]] Deviation deviation(Random& random) const;

 private:
  [[nodiscard]] unsigned page(Random& random) const;
  [[nodiscard]] unsigned mm(Random& random) const;

  std::uint64_t op_kinds_;
  WildWeights<kOpKinds> ops_;
  WildWeights<kDeviationKinds> deviations_;
  unsigned cpus_;
  unsigned mms_;
  unsigned favourite_mm_;
  unsigned first_page_;
  unsigned page_window_;
  unsigned longest_delay_;
  bool meets_{false};
};

/// In which runs threads change CPUs.
enum class Migrate : std::uint8_t { never, in_some, in_all };

struct GenerateOptions {
  unsigned cpus{4};
  unsigned ops_per_cpu{8};
  bool draw_cpus{false};        // 1 to 8 instead of `cpus`; in wide programs mostly more
  bool draw_ops{false};         // 1 to kMaxOpsPerCpu, not for each CPU the same
  unsigned max_deviations{16};  // The number is drawn from 0 to this, small ones more often.
  bool vary_header{true};       // Off: everything but `cpus` stays at its default.
  /// These switches are never at their defaults: no draw changes them.
  std::array<const HeaderSwitch*, 3> turned{};
  Backend backend{Backend::kCount};  // Always this one, unless kCount.
  /// Switches turn that otherwise turn on request, several come together, and backends come often.
  bool any_switch{false};
  bool chains{false};  // In half of the runs some operations belong together.
  /// Half of the runs have a focus. Of the others some are about one page, and there are more
  /// chains.
  bool focused{false};
  const Focus* focus{nullptr};  // Every run has this one.
  Migrate migrate{Migrate::never};
};

/// What searches are made with that look for any bug.
inline constexpr GenerateOptions kEverywhere{.draw_cpus = true,
                                             .draw_ops = true,
                                             .max_deviations = 32,
                                             .any_switch = true,
                                             .chains = true,
                                             .focused = true,
                                             .migrate = Migrate::in_some};

/// The same scenario for the same seed and options, on every machine. Options beyond the bounds of
/// a scenario are cut to them.
void generate(std::uint64_t seed, const GenerateOptions& options, Scenario& scenario);

/// Mostly native.
Backend some_backend(Random& random);

/// Draws every field but `cpus` and the backend: mostly the default, sometimes an extreme,
/// sometimes anything.
void vary_header(Random& random, Header& header);

}  // namespace shootdown::fuzz
