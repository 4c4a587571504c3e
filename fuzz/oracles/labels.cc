#include "fuzz/oracles/labels.h"

#include <bit>
#include <cstdlib>
#include <cstring>

#include "fuzz/events/layout.h"
#include "fuzz/oracles/reports/names.h"
#include "hal/host/hypervisor.h"

namespace shootdown::fuzz {

using host::FrameKind;
using host::FramePool;

std::string mapping_text(std::uint64_t entry) {
  std::string text = "frame " + std::to_string(FramePool::frame_at(entry & vm::kPteFrame));
  const auto add = [&](bool is_so, const char* what) {
    if (is_so) text += std::string(", ") + what;
  };
  add((entry & vm::kPteWritable) != 0, "writable");
  add((entry & vm::kPteWritable) == 0, "read-only");
  add((entry & vm::kPteCow) != 0, "to be copied");
  add((entry & vm::kPteNoExecute) != 0, "no-execute");
  add((entry & vm::kPteLarge) != 0, "large");
  add((entry & vm::kPteDirty) != 0, "dirty");
  return text;
}

std::string set_text(std::uint64_t bits) {
  std::string text = "{";
  for (; bits != 0; bits &= bits - 1) {
    if (text.size() > 1) text += ",";
    text += std::to_string(std::countr_zero(bits));
  }
  return text + "}";
}

std::string senders_text(std::uint64_t bits, unsigned index, CpuId cpus) {
  SenderLayout<host::HostHal> layout;
  layout.set_cpus(cpus);
  if ((bits & PendingSenders<host::HostHal>::kClosed) != 0) return "closed";
  std::string text = "{";
  for (; bits != 0; bits &= bits - 1) {
    if (text.size() > 1) text += ",";
    text += std::to_string(layout.first_of(bits, index));
  }
  return text + "}";
}

std::string Labels::entry_text(std::uint32_t table, unsigned index, std::uint64_t entry) {
  const std::uint16_t owner = machine_.frames().info(table).owner;
  const unsigned level = owner_level(owner);
  std::string page;
  if (owner_mm(owner) == kKernelMm) {
    if (level == 1 && index >= vm::kEntries - kKernelPages) {
      page = kernel_page_name(index - (vm::kEntries - kKernelPages)) + " -> ";
    }
  } else if (level <= 2) {
    const std::uint64_t* const words = machine_.frames().words(table);
    const unsigned number = page_of(mapped_by(owner, words, words + index));
    if (number != kPages && (level == 1 || vm::is_large(entry) || !vm::is_present(entry)))
      page = page_name(number) + " -> ";
  }
  if (!vm::is_present(entry)) return page + "none";
  if (level > 1 && vm::is_table(entry)) {
    return "table in frame " + std::to_string(FramePool::frame_at(entry & vm::kPteFrame));
  }
  return page + mapping_text(entry);
}

std::string Labels::shown(const void* address, std::uint64_t value, std::uint64_t bits) {
  const auto* word = static_cast<const std::uint64_t*>(address);
  const std::uint32_t frame = machine_.frames().frame_of(word);
  if (frame != FramePool::kNoFrame && machine_.frames().info(frame).kind == FrameKind::table) {
    return entry_text(frame, static_cast<unsigned>(word - machine_.frames().words(frame)), bits);
  }
  const std::string name = of(address);
  if (name.ends_with(".loaded_mm")) {
    if (bits == 0) return "none";
    const unsigned mm = sim_->mm_of(reinterpret_cast<const void*>(bits));
    return mm == kNoMm ? "the kernel's" : mm_name(mm);
  }
  // One word; machines with more CPUs have several.
  constexpr bool kOneWord = kMaxCpus <= 64;
  if (kOneWord && (name.ends_with(".cpu_mask") || name == "online")) return set_text(value);
  if (const std::size_t at = name.find(".pending["); at != std::string::npos) {
    const char* const index = name.c_str() + at + std::strlen(".pending[");
    return senders_text(value, static_cast<unsigned>(std::strtoul(index, nullptr, 10)),
                        sim_->system().cpu_count());
  }
  return std::to_string(value);
}

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
    labels_.push_back({.address = &sim_->next_task(id), .text = cpu_name(id) + ".next_task"});
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
