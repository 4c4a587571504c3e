// A kernel around memory-management code that is not ours: it brings the modelled machine up, makes
// the spaces, and runs the operations of a scenario by calling the code. What the machine did, and
// what frames and flushes mean, it tells to the oracles of hardware truth.
//
// Pages have owners: an operation takes the pages that it is about, or leaves those that another
// one has. Everything else that two operations share is up to the code.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <string>

#include "core/request.h"
#include "fuzz/events/events.h"
#include "fuzz/events/layout.h"
#include "fuzz/oracles/hardware/hardware_truth.h"
#include "fuzz/scenario/scenario.h"
#include "hal/host/hal.h"
#include "hal/host/machine.h"
#include "kernel-glue/embed/on_model.h"
#include "ports/runtime/code.h"
#include "ports/runtime/memory.h"

namespace shootdown::port {

/// What the code gives (on_model.h). The last ones may be null.
struct Functions {
  decltype(kit_system)* system{nullptr};
  decltype(kit_space_create)* create{nullptr};
  decltype(kit_space_mm)* mm{nullptr};
  decltype(kit_map)* map{nullptr};
  decltype(kit_unmap)* unmap{nullptr};
  decltype(kit_unmap_table)* unmap_table{nullptr};
  decltype(kit_protect)* protect{nullptr};
  decltype(kit_unprotect)* unprotect{nullptr};

  /// False: `missing` names what the code lacks.
  bool find(const model::Code& code, std::string& missing);
  /// The operations that it has, a bit for each kind.
  [[nodiscard]] std::uint64_t kinds() const;
};

/// Of a header what these machines have: the others are at their defaults.
void keep_what_ports_have(fuzz::Header& header);

class PortKernel final : public fuzz::KernelView, public host::Observer, public model::Frames {
 public:
  PortKernel(host::Machine& machine, model::Code& code, const Functions& functions)
      : machine_(machine), code_(code), functions_(functions), memory_(machine, *this, code) {}

  /// Call between `Machine::prepare` and `Machine::run`.
  void prepare(const fuzz::Scenario& scenario);
  [[nodiscard]] const model::Memory& memory() const { return memory_; }

  // Code for the machine's CPUs.
  static void boot(void* self, CpuId cpu);
  static void program(void* self, unsigned thread);
  static void interrupt(void* self, CpuId cpu);

  // KernelView.
  [[nodiscard]] unsigned mm_of(const void* mm) const override;
  [[nodiscard]] CpuId cpu_of(const void* /*word*/) const override { return fuzz::kNoCpu; }
  [[nodiscard]] PhysAddr root(unsigned mm) const override;
  [[nodiscard]] std::uint64_t leaf(unsigned mm, unsigned page) const override;
  [[nodiscard]] bool may_use_user_memory(CpuId cpu) const override { return uses_user_[cpu]; }
  [[nodiscard]] bool has_right(std::uint64_t entry) const override {
    return (entry & host::kPteWritable) != 0;
  }
  [[nodiscard]] bool in_user_mode(CpuId /*cpu*/) const override { return false; }
  [[nodiscard]] bool answers_early() const override { return false; }
  [[nodiscard]] bool kernel_is_global() const override { return false; }
  [[nodiscard]] std::uint32_t references(std::uint32_t /*frame*/) const override { return 1; }
  [[nodiscard]] bool waits_for_walkers(std::uint32_t /*frame*/) const override { return false; }
  [[nodiscard]] bool broadcasts() const override { return false; }

  // Observer.
  void after_change(CpuId /*cpu*/) override {}
  void on_cr3(CpuId cpu) override;
  void on_invalidate(CpuId /*cpu*/) override {}
  void on_fill(CpuId cpu, VirtAddr address, host::Provenance& from) override;
  bool on_walk(CpuId cpu, std::uint32_t frame, std::uint32_t life) override;
  void on_use(CpuId cpu, VirtAddr address, const host::TlbEntry& entry, bool write) override;
  void on_page_store(CpuId cpu, VirtAddr address, const host::TlbEntry& entry,
                     std::uint32_t life) override;
  void on_entry_stored(CpuId cpu, const std::uint64_t* word, bool is_there,
                       std::uint64_t value) override;
  void on_ipi(CpuId /*cpu*/, const host::HostCpuMask& /*targets*/) override {}
  void on_broadcast(CpuId /*cpu*/, const Invlpgb& /*what*/) override {}
  void on_broadcasts_done(CpuId /*cpu*/) override {}
  void on_trace(CpuId cpu, const TraceEvent& event) override;
  std::string label(const void* address) override;

  // model::Frames.
  void on_word(std::uint64_t* word, std::uint64_t before, std::uint64_t after,
               bool buffered) override;
  void on_use(std::uint32_t frame, const char* verb) override;
  bool is_shared(std::uint32_t frame) override;
  std::uint64_t allocate() override;
  void release(std::uint64_t frame) override;
  std::uint64_t kernel_root() override;

 private:
  /// A page of a space: an operation has it, or it is mapped or not.
  enum class State : std::uint8_t { unmapped, mapped, taken };
  struct Space {
    void* object{nullptr};
    sd_mm* mm{nullptr};
    std::array<State, fuzz::kSmallPages> pages{};
  };
  struct Flush {
    unsigned mm{fuzz::kNoMm};
    std::uint64_t begin{0};
    fuzz::AskedRange asked;
  };
  static constexpr unsigned kNoSpace = ~0U;

  void build_kernel();
  void bring_up();
  void create_space(unsigned mm);
  void execute(const fuzz::Op& op);
  // Tasks.
  void run_task(unsigned mm);
  void go_idle();
  void leave();
  void access(const fuzz::Op& op);
  // Memory.
  void map_page(unsigned mm, unsigned page);
  void for_mapped(const fuzz::Op& op);
  void unmap_table(const fuzz::Op& op);
  /// One call of the code, which promises something of the pages `first` to `last`.
  template <class Call>
  void promising(unsigned mm, unsigned first, unsigned last, Call&& call);

  /// A frame that an entry leads to for the first time becomes what the entry says.
  void attach(std::uint32_t frame, std::uint64_t entry, std::uint32_t above, unsigned index);
  void scan(std::uint32_t table);
  [[nodiscard]] bool is_attached(std::uint32_t frame) const;
  void take_back(std::uint32_t frame);
  [[nodiscard]] std::string core_name(const void* address) const;
  void begin_flush(CpuId cpu, const TraceEvent& event);
  void end_flush(CpuId cpu, const TraceEvent& event);
  void check_loaded(CpuId cpu, fuzz::After after);
  [[nodiscard]] fuzz::AskedRange& asked(CpuId cpu) { return flush_[cpu].asked; }

  host::Machine& machine_;
  model::Code& code_;
  const Functions& functions_;
  model::Memory memory_;
  fuzz::HardwareTruth oracles_{machine_};
  const fuzz::Scenario* scenario_{nullptr};
  std::uint32_t kernel_root_{0};
  std::array<Space, fuzz::kMaxMms> spaces_{};
  std::array<VirtAddr, host::FramePool::kFrames> base_{};  // the first address under each table
  std::array<std::deque<bool>, fuzz::kMaxCpus> waiting_;   // buffered entries: told to oracles
  std::array<Flush, fuzz::kMaxCpus> flush_{};
  // Of each CPU.
  std::array<unsigned, fuzz::kMaxCpus> loaded_{};
  std::array<bool, fuzz::kMaxCpus> uses_user_{};
};

}  // namespace shootdown::port
