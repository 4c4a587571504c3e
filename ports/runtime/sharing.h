// Which variables of the code more than one CPU uses. What one CPU's program or handler alone uses
// can be accessed without a choice point: in no order with other CPUs does it make a difference.
//
// Which ones these are is learned: a run that shows one to be shared is worth nothing and is done
// again. Until it is turned on all variables count as shared.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace shootdown::model {

class Sharing {
 public:
  void turn(bool on) { on_ = on; }
  [[nodiscard]] bool is_on() const { return on_; }
  /// A run begins. What is known to be shared stays known.
  void start_run() {
    for (const std::size_t granule : used_) {
      if (users_[granule] != kShared) users_[granule] = kNone;
    }
    used_.clear();
    learned_ = false;
  }
  /// The run has shown that something is shared which counted as one CPU's own.
  [[nodiscard]] bool has_learned() const { return learned_; }
  /// How many granules of eight bytes are shared.
  [[nodiscard]] std::size_t shared() const { return shared_; }

  /// A granule counts as shared, without a run that shows it.
  void share(std::size_t granule) {
    if (granule >= users_.size()) users_.resize(granule + 1, kNone);
    if (users_[granule] != kShared) ++shared_;
    users_[granule] = kShared;
  }
  /// The granules that are shared here, and not there.
  [[nodiscard]] std::vector<std::size_t> besides(const Sharing& other) const {
    std::vector<std::size_t> result;
    for (std::size_t granule = 0; granule < users_.size(); ++granule) {
      const bool is_known = granule < other.users_.size() && other.users_[granule] == kShared;
      if (users_[granule] == kShared && !is_known) result.push_back(granule);
    }
    return result;
  }

  /// `user`, a CPU's program or its handler, accesses a granule. Whether others may notice.
  bool use(std::size_t granule, unsigned user) {
    if (!on_) return true;
    if (granule >= users_.size()) users_.resize(granule + 1, kNone);
    std::uint16_t& known = users_[granule];
    if (known == kShared) return true;
    if (known == user) return false;
    if (known != kNone) {
      known = kShared;
      ++shared_;
      learned_ = true;
      return true;
    }
    known = static_cast<std::uint16_t>(user);
    used_.push_back(granule);
    return false;
  }

 private:
  static constexpr std::uint16_t kNone = 0xffff;
  static constexpr std::uint16_t kShared = 0xfffe;

  bool on_{false};
  bool learned_{false};
  std::size_t shared_{0};
  std::vector<std::uint16_t> users_;
  std::vector<std::size_t> used_;  // by one user, in this run
};

}  // namespace shootdown::model
