// Names of shared words and of what is in them, for timelines.
#pragma once

#include <string>
#include <vector>

#include "fuzz/kernel/sim_kernel.h"

namespace shootdown::fuzz {

/// "frame 12, writable, large": what a present entry maps, and its bits.
[[nodiscard]] std::string mapping_text(std::uint64_t entry);
/// "{0, 2}": the CPUs of a mask's word.
[[nodiscard]] std::string set_text(std::uint64_t bits);
/// The same of a word of pending senders, the `index`-th of its CPU, in a system of so many CPUs.
[[nodiscard]] std::string senders_text(std::uint64_t bits, unsigned index, CpuId cpus);

class Labels {
 public:
  explicit Labels(host::Machine& machine) : machine_(machine) {}
  void watch(SimKernel& sim) { sim_ = &sim; }
  [[nodiscard]] std::string of(const void* address);
  /// What is in it: entries of page tables, sets of CPUs and mms in words, all else as the number.
  [[nodiscard]] std::string shown(const void* address, std::uint64_t value, std::uint64_t bits);

 private:
  struct Label {
    const void* address;
    std::string text;
  };

  void collect();
  [[nodiscard]] std::string entry_text(std::uint32_t table, unsigned index, std::uint64_t entry);
  [[nodiscard]] std::string table_name(std::uint32_t frame) const;

  host::Machine& machine_;
  SimKernel* sim_{nullptr};
  std::vector<Label> labels_;
};

}  // namespace shootdown::fuzz
