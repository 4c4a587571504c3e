// A kernel around memory-management code that is not ours: it brings the modelled machine up, makes
// the spaces, and runs the operations of a scenario by calling the code. What the machine did, and
// what frames and flushes mean, it tells to the oracles of hardware truth.
//
// Pages have owners: an operation takes the pages that it is about, or leaves those that another
// one has. Everything else that two operations share is up to the code.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "core/request.h"
#include "fuzz/events/events.h"
#include "fuzz/scenario/scenario.h"
#include "hal/host/hal.h"
#include "hal/host/machine.h"
#include "kernel-glue/embed/on_model.h"
#include "ports/harness/kernel.h"
#include "ports/runtime/code.h"

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

/// Draws what these machines have.
void draw_header(fuzz::Random& random, fuzz::Header& header);

class PortKernel final : public ForeignKernel {
 public:
  PortKernel(host::Machine& machine, model::Code& code, const Functions& functions)
      : ForeignKernel(machine, code), functions_(functions) {}

  [[nodiscard]] host::Setup setup(const fuzz::Scenario& scenario) override;
  [[nodiscard]] std::uint64_t kinds() const override { return functions_.kinds(); }
  void keep(fuzz::Header& header) const override;

  // Code for the machine's CPUs.
  static void boot(void* self, CpuId cpu);
  static void program(void* self, unsigned thread);
  static void interrupt(void* self, CpuId cpu);

  [[nodiscard]] unsigned mm_of(const void* mm) const override;
  [[nodiscard]] PhysAddr root(unsigned mm) const override;
  void on_trace(CpuId cpu, const TraceEvent& event) override;

 private:
  struct Space {
    void* object{nullptr};
    sd_mm* mm{nullptr};
    Pages pages{};
  };
  struct Flush {
    unsigned mm{fuzz::kNoMm};
    std::uint64_t begin{0};
    fuzz::AskedRange asked;
    Generation generation{kNoGeneration};
    bool frees_tables{false};
    FlushRange range{};  // whole strides
  };
  static constexpr unsigned kNoSpace = ~0U;

  void start_run() override;
  [[nodiscard]] std::string name_of_word(const void* address) const override;
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

  void begin_flush(CpuId cpu, const TraceEvent& event);
  void end_flush(CpuId cpu);
  [[nodiscard]] fuzz::AskedRange& asked(CpuId cpu) { return flush_[cpu].asked; }

  const Functions& functions_;
  std::array<Space, fuzz::kMaxMms> spaces_{};
  std::array<Flush, fuzz::kMaxCpus> flush_{};
  std::array<unsigned, fuzz::kMaxCpus> loaded_{};  // of each CPU
};

}  // namespace shootdown::port
