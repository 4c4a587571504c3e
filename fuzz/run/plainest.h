// Of several reports the one that explains most. The first report of a search is seldom that: a bug
// that leaves a stale translation is often found first as a needless interrupt, or under store
// buffers that it does not need.
#pragma once

#include <cstdint>
#include <string>

#include "fuzz/scenario/scenario.h"
#include "hal/host/report.h"

namespace shootdown::fuzz {

/// How much of a failure its report leaves to the reader; less is plainer.
struct Plainness {
  /// 0: what went wrong is told by an oracle of consequences. 1: by one of orders, of needless work
  /// or of records (ORDER, O19, O22, O29), or by a check inside the core, which is before or beside
  /// them.
  std::uint8_t oracle{0};
  std::uint8_t memory{0};  // 0: sequential, 1: store buffers, 2: a compiler reorders
  std::uint8_t turned{0};  // how much of the configuration is not at its default, sizes apart
  friend auto operator<=>(const Plainness&, const Plainness&) = default;
};
[[nodiscard]] Plainness plainness_of(const host::Report& report, const Header& header);

/// Keeps the plainest of the reports that it is offered, of two equally plain ones the first. The
/// same offers in the same order leave the same report.
class Plainest {
 public:
  /// Whether it is the plainest so far. A report that did not fail never is.
  bool offer(const host::Report& report, const Scenario& scenario);
  [[nodiscard]] bool any() const { return any_; }
  /// Nothing can be plainer: a search may stop here.
  [[nodiscard]] bool is_plain() const { return any_ && plainness_ == Plainness{}; }
  [[nodiscard]] const Scenario& scenario() const { return scenario_; }
  [[nodiscard]] const host::Report& report() const { return report_; }

 private:
  bool any_{false};
  Plainness plainness_;
  Scenario scenario_;
  host::Report report_;
};

/// How many more executions a search makes after its first find, before it shows the plainest:
/// as many as the find took, so that a rare bug gets a fair second chance, but neither fewer than a
/// moment nor more than some seconds.
[[nodiscard]] std::uint64_t executions_after_find(std::uint64_t until_found);

}  // namespace shootdown::fuzz
