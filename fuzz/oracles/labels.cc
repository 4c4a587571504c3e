#include "fuzz/oracles/labels.h"

#include <cstring>

#include "fuzz/events/layout.h"
#include "fuzz/oracles/reports/names.h"
#include "hal/host/hypervisor.h"

namespace shootdown::fuzz {

using host::FrameKind;
using host::FramePool;

void Labels::collect() {
  labels_.clear();
  const auto add = [&](const std::string& prefix) {
    return [this, prefix](const char* name, auto& word) {
      labels_.push_back({.address = &word, .text = prefix + name});
    };
  };
  for (unsigned i = 0; i < SimKernel::kMms; ++i) {
    SimMm& mm = sim_->mm(i);
    mm.core.visit_shared(add(mm_name(i) + "."));
    labels_.push_back({.address = &mm.pending, .text = mm_name(i) + ".pending"});
    labels_.push_back({.address = &mm.users, .text = mm_name(i) + ".users"});
  }
  System<host::HostHal>& system = sim_->system();
  system.kernel_mm.visit_shared(add("kernel_mm."));
  labels_.push_back({.address = &system.next_context, .text = "next_context"});
  system.global_asids.visit_shared(add(""));
  labels_.push_back({.address = &sim_->kernel_lock(), .text = "kernel_table_lock"});
  labels_.push_back({.address = &sim_->temporary_lock(), .text = "temporary_lock"});
  labels_.push_back({.address = &sim_->manager().deferred, .text = "deferred_tables"});
  labels_.push_back({.address = &sim_->manager().deferred_lock, .text = "deferred_lock"});
  for (CpuId id = 0; id < kMaxCpus; ++id) {
    labels_.push_back(
        {.address = &sim_->manager().walkers[id].sequence, .text = cpu_name(id) + ".walks"});
    labels_.push_back(
        {.address = &system.cpus[id].own.loaded_mm, .text = cpu_name(id) + ".loaded_mm"});
    labels_.push_back(
        {.address = &system.cpus[id].own.on_global, .text = cpu_name(id) + ".on_global"});
    labels_.push_back({.address = &system.cpus[id].own.early_acked_flush_pending,
                       .text = cpu_name(id) + ".early_acked_flush_pending"});
    labels_.push_back(
        {.address = &system.cpus[id].shared.is_lazy, .text = cpu_name(id) + ".is_lazy"});
    labels_.push_back(
        {.address = &sim_->entry_block(id).kernel_cr3, .text = cpu_name(id) + ".kernel_cr3"});
    host::Hypervisor& below = machine_.hypervisor();
    labels_.push_back({.address = &below.vcpu_state(id), .text = cpu_name(id) + ".vcpu_state"});
    for (const auto& word : below.bau_unanswered(id)) {
      labels_.push_back({.address = &word, .text = cpu_name(id) + ".unanswered"});
    }
  }
  unsigned pending = 0;
  system.calls.visit_shared([&](const char* name, auto& word) {
    std::string text = std::strcmp(name, "cpu_mask") == 0 ? "online" : name;
    if (std::strcmp(name, "call_pending") == 0) {
      constexpr unsigned kWords = PendingSenders<HostHal>::kWords;
      text = cpu_name(pending / kWords) + ".pending[" + std::to_string(pending % kWords) + "]";
      ++pending;
    }
    labels_.push_back({.address = &word, .text = text});
  });
}

std::string Labels::table_name(std::uint32_t frame) const {
  const std::uint16_t owner = machine_.frames().info(frame).owner;
  const unsigned mm = owner_mm(owner);
  const unsigned level = owner_level(owner);
  return (mm == kKernelMm ? "kernel" : mm_name(mm)) + (level == 1   ? ".table"
                                                       : level == 2 ? ".directory"
                                                                    : ".upper");
}

std::string Labels::of(const void* address) {
  const auto value = reinterpret_cast<std::uintptr_t>(address);
  if (page_of(value) != kPages) return page_name(page_of(value));
  if (kernel_page_of(value) != kKernelPages) return kernel_page_name(kernel_page_of(value));
  const auto* word = static_cast<const std::uint64_t*>(address);
  const std::uint32_t frame = machine_.frames().frame_of(word);
  if (frame != FramePool::kNoFrame) {
    const auto index = static_cast<unsigned>(word - machine_.frames().words(frame));
    return table_name(frame) + "[" + std::to_string(index) + "]";
  }
  for (std::uint32_t number = 0; number < FramePool::kFrames; ++number) {
    const PhysAddr table = FramePool::address(number);
    if (address == &sim_->memory().table_lock(table)) return table_name(number) + ".lock";
    if (address == &sim_->memory().references(table)) {
      return "references of frame " + std::to_string(number);
    }
  }
  if (labels_.empty()) collect();
  for (const Label& label : labels_) {
    if (label.address == address) return label.text;
  }
  const std::uint32_t root = FramePool::frame_at(value);
  if (root != FramePool::kNoFrame && machine_.frames().info(root).kind == FrameKind::table) {
    const unsigned mm = owner_mm(machine_.frames().info(root).owner);
    return (mm == kKernelMm ? "the kernel's mm" : mm_name(mm)) + ", PCID " +
           std::to_string(value & 0xfff);
  }
  return std::to_string(value);
}

}  // namespace shootdown::fuzz
