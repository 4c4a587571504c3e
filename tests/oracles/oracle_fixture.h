// One run of the simulated kernel under all oracles. Sets up the kernel on one CPU for each list of
// steps; a test may change the state, or what the oracles are told, as a wrong kernel or a wrong
// core would. `expect` first runs the script without that, which must be clean. Records the
// timeline, and prints it with the script and both reports if the run ends otherwise.
//
//   Trial trial;
//   trial.before(TraceKind::switch_end, 0, [&] { trial.loaded_asid(0).generation = 9; });
//   trial.expect("O3 an ASID is newer than its address space", {{op("switch_to mm=1")}});
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <source_location>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/kernel/sim_kernel.h"
#include "fuzz/oracles/oracles.h"
#include "fuzz/run/runner.h"
#include "fuzz/scenario/scenario.h"
#include "hal/host/machine.h"

namespace shootdown::fuzz {

/// One thing that a simulated CPU does.
struct Step {
  enum class Kind : std::uint8_t { op, await, go, act, wrong };
  Kind kind;
  Op op{};
  std::uint64_t turn{0};
  std::function<void()> code;
};

/// An operation as it stands in a scenario's text form, such as "unmap mm=0 page=1".
[[nodiscard]] Step op(std::string_view text);
/// Waits, with interrupts on, until another CPU has run `go(turn)`.
[[nodiscard]] Step await(std::uint64_t turn);
[[nodiscard]] Step go(std::uint64_t turn);
/// What hardware may do, whether the script runs honestly or not.
[[nodiscard]] Step act(std::function<void()> code);
/// What only a wrong kernel does. Left out when the script runs honestly.
[[nodiscard]] Step wrong(std::function<void()> code);

using Script = std::vector<std::vector<Step>>;  // one list per CPU

/// Stands between the machine and the oracles.
class OracleFixture final : public host::Observer {
 public:
  using Hook = std::function<void()>;

  OracleFixture() : oracles(machine), sim(machine, oracles) { oracles.watch(sim); }

  /// Runs `hook` at each such event of `cpu`, before or after the oracles hear of it.
  void before(TraceKind kind, CpuId cpu, Hook hook) { hook_at(kind, cpu, true, std::move(hook)); }
  void after(TraceKind kind, CpuId cpu, Hook hook) { hook_at(kind, cpu, false, std::move(hook)); }
  /// May change what the oracles hear.
  std::function<void(CpuId, TraceEvent&)> distort;
  std::function<void(CpuId)> before_change;
  std::function<void(CpuId, VirtAddr, const host::TlbEntry&)> on_access;
  std::function<void(CpuId)> after_ipi;

  using Where = std::source_location;

  /// The script without wrong steps and hooks must be clean, and with them end in `title`. A run
  /// that ends otherwise fails the test, with its trace report.
  void expect(std::string_view title, const Script& script, Header header = {},
              Where where = Where::current());
  /// The script with its wrong steps and hooks must be clean all the same.
  void expect_clean(const Script& script, Header header = {}, Where where = Where::current());
  /// So must this scenario with its own schedule, with the hooks in place.
  void expect_clean(const Scenario& scenario, Where where = Where::current());
  /// Runs a script as it is and returns the report's title, or "ok".
  std::string run(const Script& script, Header header, bool honestly);
  /// Runs a scenario with its own schedule, with the hooks in place.
  std::string run(const Scenario& scenario);
  /// The last run: what each CPU was to do, what the CPUs did, and the report.
  [[nodiscard]] std::string trace_report() const;

  // ---- What tests meddle with

  System<HostHal>& system() { return sim.system(); }
  CpuPrivate<HostHal>& own(CpuId cpu) { return system().cpus[cpu].own; }
  Mm<HostHal>* loaded(CpuId cpu) { return own(cpu).loaded_mm.peek(); }
  AsidState<HostHal>& loaded_asid(CpuId cpu) { return own(cpu).asids[own(cpu).loaded_asid]; }
  Mm<HostHal>& core_mm(unsigned mm) { return sim.mm(mm).core; }
  /// The ASID of `cpu` that holds `mm`. There must be one.
  AsidState<HostHal>& asid_of(CpuId cpu, unsigned mm);
  void set_in_mask(unsigned mm, CpuId cpu, bool member);
  /// Makes the core believe that `cpu` has the kernel's mm loaded.
  void hide_loaded(CpuId cpu);
  /// The lock of the page table that maps the small page.
  SimMemory::Word& table_lock(unsigned mm, unsigned page);
  /// Answers the call of `sender` to `target`.
  void answer_for(CpuId sender, CpuId target);
  /// The entry that maps the page, as it is in memory now, or 0.
  std::uint64_t entry_of(unsigned mm, unsigned page);
  /// Whether `cpu` has a translation of the small page that memory does not justify.
  bool holds_stale(CpuId cpu, unsigned mm, unsigned page);

  /// What the last run has reported.
  host::Report report;

  host::Machine machine;
  Oracles oracles;
  SimKernel sim;

  // ---- Observer

  void after_change(CpuId cpu) override;
  void on_cr3(CpuId cpu) override { oracles.on_cr3(cpu); }
  void on_invalidate(CpuId cpu) override { oracles.on_invalidate(cpu); }
  void on_dropped(CpuId cpu, const host::Dropped& what) override { oracles.on_dropped(cpu, what); }
  void on_fill(CpuId cpu, VirtAddr address, host::Provenance& from) override {
    oracles.on_fill(cpu, address, from);
  }
  bool on_walk(CpuId cpu, std::uint32_t frame, std::uint32_t life) override {
    return oracles.on_walk(cpu, frame, life);
  }
  void on_use(CpuId cpu, VirtAddr address, const host::TlbEntry& entry, bool write) override;
  void on_ipi(CpuId cpu, const host::HostCpuMask& targets) override;
  void on_remote_flush(CpuId cpu, const host::HostCpuMask& targets) override {
    oracles.on_remote_flush(cpu, targets);
  }
  void on_broadcast(CpuId cpu, const Invlpgb& what) override { oracles.on_broadcast(cpu, what); }
  void on_page_store(CpuId cpu, VirtAddr address, const host::TlbEntry& entry,
                     std::uint32_t life) override {
    oracles.on_page_store(cpu, address, entry, life);
  }
  void on_entry_stored(CpuId cpu, const std::uint64_t* word, bool is_there,
                       std::uint64_t value) override {
    oracles.on_entry_stored(cpu, word, is_there, value);
  }
  void on_broadcasts_done(CpuId cpu) override { oracles.on_broadcasts_done(cpu); }
  void on_trace(CpuId cpu, const TraceEvent& event) override;
  std::string label(const void* address) override {
    return address == &turn_ ? "turn" : oracles.label(address);
  }

 private:
  struct TraceHook {
    TraceKind kind;
    CpuId cpu;
    bool before;
    Hook hook;
  };
  void hook_at(TraceKind kind, CpuId cpu, bool before, Hook hook) {
    hooks_.push_back({.kind = kind, .cpu = cpu, .before = before, .hook = std::move(hook)});
  }
  void run_hooks(TraceKind kind, CpuId cpu, bool before);
  void perform(CpuId cpu, const std::vector<Step>& steps);
  std::string start(host::CpuCode program, host::CpuCode boot);
  void check(std::string_view found, std::string_view title, const char* what, const Where& where);
  [[nodiscard]] std::string told_script() const;

  std::vector<TraceHook> hooks_;
  bool honest_{false};
  bool was_honest_{false};  // the last run
  Script script_;           // none: a scenario runs
  Scenario scenario_;
  ScenarioSchedule schedule_{machine};
  host::HostAtomic<std::uint64_t> turn_;
};

/// What a CPU's TLB held at some moment, to be put back later as if the CPU had not dropped it:
/// `snapshot.take(1)` before a handler runs, `snapshot.put_entries(1)` after it.
class TlbSnapshot {
 public:
  explicit TlbSnapshot(OracleFixture& fixture) : trial_(fixture) {}
  void take(CpuId cpu);
  /// Puts the translations back, as if they had never been dropped, under the PCID now loaded.
  void put_entries(CpuId cpu) const;
  /// The same for cached pointers to tables, of all levels or of one.
  void put_tables(CpuId cpu, unsigned level = 0) const;
  /// Puts the translations, or the pointers to tables, back under the PCIDs that they had.
  void put_back(CpuId cpu) const;
  void put_tables_back(CpuId cpu) const;
  [[nodiscard]] std::size_t entries() const { return entries_.size(); }

 private:
  OracleFixture& trial_;
  std::vector<host::TlbEntry> entries_;
  std::vector<host::PscEntry> tables_;
};

}  // namespace shootdown::fuzz
