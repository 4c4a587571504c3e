// Names of shared words, for timelines.
#pragma once

#include <string>
#include <vector>

#include "fuzz/kernel/sim_kernel.h"

namespace shootdown::fuzz {

class Labels {
 public:
  explicit Labels(host::Machine& machine) : machine_(machine) {}
  void watch(SimKernel& sim) { sim_ = &sim; }
  [[nodiscard]] std::string of(const void* address);

 private:
  struct Label {
    const void* address;
    std::string text;
  };

  void collect();
  [[nodiscard]] std::string table_name(std::uint32_t frame) const;

  host::Machine& machine_;
  SimKernel* sim_{nullptr};
  std::vector<Label> labels_;
};

}  // namespace shootdown::fuzz
