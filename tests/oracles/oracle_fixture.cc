#include "tests/oracles/oracle_fixture.h"

#include <gtest/gtest.h>

#include <cstring>
#include <type_traits>
#include <utility>

#include "fuzz/events/layout.h"
#include "fuzz/run/trace_report.h"

namespace shootdown::fuzz {

Step op(std::string_view text) {
  Scenario scenario;
  ParseError error;
  const std::string whole =
      "shootdown-scenario 1\nconfig cpus=8 mms=8\ncpu 0: " + std::string(text) + "\n";
  EXPECT_TRUE(parse(whole, scenario, error)) << print(error);
  return {.kind = Step::Kind::op, .op = scenario.ops[0][0]};
}

Step await(std::uint64_t turn) { return {.kind = Step::Kind::await, .turn = turn}; }
Step go(std::uint64_t turn) { return {.kind = Step::Kind::go, .turn = turn}; }
Step act(std::function<void()> code) { return {.kind = Step::Kind::act, .code = std::move(code)}; }
Step wrong(std::function<void()> code) {
  return {.kind = Step::Kind::wrong, .code = std::move(code)};
}

void OracleFixture::expect(std::string_view title, const Script& script, Header header,
                           Where where) {
  check(run(script, header, /*honestly=*/true), "ok", "without the wrong steps and hooks", where);
  check(run(script, header, /*honestly=*/false), title, "with the wrong steps and hooks", where);
}

void OracleFixture::expect_clean(const Script& script, Header header, Where where) {
  check(run(script, header, /*honestly=*/false), "ok", "with the wrong steps and hooks", where);
}

void OracleFixture::expect_clean(const Scenario& scenario, Where where) {
  // Recording slows a run down, and scenarios run by the thousand: only one that fails is recorded.
  if (run(scenario) == "ok") return;
  machine.recorder().turn_timeline(true);
  check(run(scenario), "ok", "of the scenario, repeated and recorded,", where);
  machine.recorder().turn_timeline(false);
  EXPECT_TRUE(report.failed()) << "The scenario failed, and then it did not.";
}

void OracleFixture::check(std::string_view found, std::string_view title, const char* what,
                          const Where& where) {
  if (found == title) return;
  ADD_FAILURE_AT(where.file_name(), static_cast<int>(where.line()))
      << "The run " << what << " ends in\n  " << found << "\ninstead of\n  " << title << "\n\n"
      << trace_report();
}

std::string OracleFixture::told_script() const {
  if (script_.empty()) return print(scenario_);
  std::string text;
  for (std::size_t cpu = 0; cpu < script_.size(); ++cpu) {
    text += "cpu " + std::to_string(cpu) + ":";
    for (const Step& step : script_[cpu]) {
      switch (step.kind) {
        case Step::Kind::op:
          text += " " + print(step.op) + ";";
          break;
        case Step::Kind::await:
          text += " await " + std::to_string(step.turn) + ";";
          break;
        case Step::Kind::go:
          text += " go " + std::to_string(step.turn) + ";";
          break;
        case Step::Kind::act:
          text += " what hardware may do;";
          break;
        case Step::Kind::wrong:
          text += was_honest_ ? " (left out: a wrong step);" : " a wrong step;";
          break;
      }
    }
    text += "\n";
  }
  return text;
}

std::string OracleFixture::trace_report() const {
  std::string text = "SCRIPT\n" + told_script() + "\nINTERLEAVING\n" + interleaving(machine, {}) +
                     "\nREPORT\n  " + title(report) + "\n";
  if (report.failed()) text += "  " + report.detail + "\n";
  for (const host::Event& event : {report.first, report.second}) {
    if (event.what.empty()) continue;
    text += "  step " + std::to_string(event.step) + ", cpu" + std::to_string(event.cpu) + ": " +
            event.what + "\n";
  }
  return text;
}

std::string OracleFixture::run(const Script& script, Header header, bool honestly) {
  honest_ = was_honest_ = honestly;
  script_ = script;
  scenario_ = {};
  scenario_.header = header;
  scenario_.header.cpus = static_cast<std::uint8_t>(script.size());
  turn_.poke(0);
  machine.recorder().turn_timeline(true);
  const std::string title = start(
      [](void* self, CpuId cpu) {
        OracleFixture& fixture = *static_cast<OracleFixture*>(self);
        fixture.perform(cpu, fixture.script_[cpu]);
      },
      [](void* self, CpuId cpu) { SimKernel::boot(&static_cast<OracleFixture*>(self)->sim, cpu); });
  machine.recorder().turn_timeline(false);
  honest_ = false;
  return title;
}

std::string OracleFixture::run(const Scenario& scenario) {
  script_.clear();
  scenario_ = scenario;
  return start(
      [](void* self, CpuId cpu) {
        SimKernel::program(&static_cast<OracleFixture*>(self)->sim, cpu);
      },
      [](void* self, CpuId cpu) { SimKernel::boot(&static_cast<OracleFixture*>(self)->sim, cpu); });
}

std::string OracleFixture::start(host::CpuCode program, host::CpuCode boot) {
  schedule_.start(scenario_);
  machine.prepare(
      {.hardware = {.cpus = scenario_.header.cpus,
                    .pcid = scenario_.header.pcid,
                    .backend = backend_of(scenario_.header)},
       .memory = scenario_.header.tso ? host::Memory::tso : host::Memory::sc,
       .programs = {
           .boot = boot,
           .program = program,
           .interrupt =
               [](void* self, CpuId cpu) {
                 SimKernel::interrupt(&static_cast<OracleFixture*>(self)->sim, cpu);
               },
           .bau_interrupt =
               [](void* self, CpuId cpu) {
                 SimKernel::bau_interrupt(&static_cast<OracleFixture*>(self)->sim, cpu);
               },
           .nmi = [](void* self,
                     CpuId cpu) { SimKernel::nmi(&static_cast<OracleFixture*>(self)->sim, cpu); },
           .reschedule =
               [](void* self, CpuId cpu) {
                 SimKernel::reschedule(&static_cast<OracleFixture*>(self)->sim, cpu);
               },
           .argument = this},
       .exploration = {.step_limit = kStepLimit, .schedule = &schedule_},
       .observer = this});
  sim.prepare(scenario_);
  report = machine.run();
  if (!report.failed()) {
    oracles.on_run_end();
    report = machine.report();
  }
  if (report.failed()) oracles.refine(report);
  return title(report);
}

void OracleFixture::perform(CpuId cpu, const std::vector<Step>& steps) {
  for (std::size_t i = 0; i < steps.size(); ++i) {
    switch (steps[i].kind) {
      case Step::Kind::op:
        // Together with the operations that follow: a program ends by flushing its batch.
        scenario_.ops[cpu].clear();
        for (; i < steps.size() && steps[i].kind == Step::Kind::op; ++i) {
          scenario_.ops[cpu].push_back(steps[i].op);
        }
        --i;
        SimKernel::program(&sim, cpu);
        break;
      case Step::Kind::await:
        while (turn_.load(std::memory_order_acquire) < steps[i].turn) HostHal::pause();
        break;
      case Step::Kind::go:
        turn_.store(steps[i].turn, std::memory_order_release);
        break;
      case Step::Kind::act:
        steps[i].code();
        break;
      case Step::Kind::wrong:
        if (honest_) break;
        if (machine.recorder().has_timeline()) machine.recorder().line("== a wrong step", {});
        steps[i].code();
        break;
    }
  }
}

// ---- What tests meddle with

AsidState<HostHal>& OracleFixture::asid_of(CpuId cpu, unsigned mm) {
  for (AsidState<HostHal>& asid : own(cpu).asids) {
    if (asid.context == core_mm(mm).context) return asid;
  }
  ADD_FAILURE() << "no ASID";
  return own(cpu).asids[0];
}

void OracleFixture::set_in_mask(unsigned mm, CpuId cpu, bool member) {
  const std::uint64_t bit = std::uint64_t{1} << cpu;
  core_mm(mm).cpus.visit_shared(
      [&](const char*, auto& word) { word.poke(member ? word.peek() | bit : word.peek() & ~bit); });
}

void OracleFixture::hide_loaded(CpuId cpu) {
  system().cpus[cpu].own.loaded_mm.poke(&system().kernel_mm);
}

void OracleFixture::answer_for(CpuId sender, CpuId target) {
  using Pending = PendingSenders<HostHal>;
  SenderLayout<HostHal> layout;
  layout.set_cpus(HostHal::kMaxCpus);
  CpuId index = 0;
  system().calls.visit_shared([&](const char* name, auto& word) {
    if (std::strcmp(name, "call_pending") != 0) return;
    if (index++ != (target * Pending::kWords) + layout.word_of(sender)) return;
    word.poke(word.peek() & ~layout.bit_of(sender));
  });
}

SimMemory::Word& OracleFixture::table_lock(unsigned mm, unsigned page) {
  const PhysAddr directory = vm::find_table(sim.manager(), sim.mm(mm), page_address(page), 2);
  const vm::Pte upper =
      sim.memory().entry(directory, vm::entry_index(page_address(page), 2)).peek();
  return sim.memory().table_lock(vm::frame_of(upper));
}

std::uint64_t OracleFixture::entry_of(unsigned mm, unsigned page) { return sim.leaf(mm, page); }

bool OracleFixture::holds_stale(CpuId cpu, unsigned mm, unsigned page) {
  const std::uint64_t now = entry_of(mm, page);
  for (const host::TlbEntry& entry : machine.cpu(cpu).tlb.entries) {
    if (entry.from.mm != mm || !entry.covers(probe_address(page))) continue;
    if ((now & host::kPtePresent) == 0 || host::FramePool::frame_at(now) != entry.frame) {
      return true;
    }
    if (entry.rights.and_of(now) != entry.rights) return true;
  }
  return false;
}

// ---- Observer

void OracleFixture::run_hooks(TraceKind kind, CpuId cpu, bool before) {
  if (honest_) return;
  for (const TraceHook& hook : hooks_) {
    if (hook.kind == kind && hook.cpu == cpu && hook.before == before) hook.hook();
  }
}

void OracleFixture::on_trace(CpuId cpu, const TraceEvent& event) {
  run_hooks(event.kind, cpu, /*before=*/true);
  TraceEvent told = event;
  if (distort && !honest_) distort(cpu, told);
  oracles.on_trace(cpu, told);
  run_hooks(event.kind, cpu, /*before=*/false);
}

void OracleFixture::after_change(CpuId cpu) {
  if (before_change && !honest_) before_change(cpu);
  oracles.after_change(cpu);
}

void OracleFixture::on_use(CpuId cpu, VirtAddr address, const host::TlbEntry& entry, bool write) {
  if (on_access && !honest_) on_access(cpu, address, entry);
  oracles.on_use(cpu, address, entry, write);
}

void OracleFixture::on_ipi(CpuId cpu, const host::HostCpuMask& targets) {
  oracles.on_ipi(cpu, targets);
  if (after_ipi && !honest_) after_ipi(cpu);
}

// ---- TlbSnapshot

void TlbSnapshot::take(CpuId cpu) {
  const host::Tlb& tlb = trial_.machine.cpu(cpu).tlb;
  entries_.assign(tlb.entries.begin(), tlb.entries.end());
  tables_.assign(tlb.psc.begin(), tlb.psc.end());
}

void TlbSnapshot::put_entries(CpuId cpu) const {
  host::HostCpu& target = trial_.machine.cpu(cpu);
  const std::uint16_t pcid = target.pcid();
  for (host::TlbEntry entry : entries_) {
    entry.pcid = pcid;
    if (target.tlb.find(entry.page << entry.shift, pcid) == nullptr) {
      target.tlb.entries.insert(entry);
    }
  }
}

void TlbSnapshot::put_back(CpuId cpu) const {
  host::Tlb& tlb = trial_.machine.cpu(cpu).tlb;
  for (const host::TlbEntry& entry : entries_) {
    if (tlb.find(entry.page << entry.shift, entry.pcid) == nullptr) tlb.entries.insert(entry);
  }
}

void TlbSnapshot::put_tables_back(CpuId cpu) const {
  host::Tlb& tlb = trial_.machine.cpu(cpu).tlb;
  for (const host::PscEntry& entry : tables_) {
    const VirtAddr address = entry.prefix << entry.shift;
    if (tlb.find_table(address, entry.pcid, entry.level()) == nullptr) tlb.psc.insert(entry);
  }
}

void TlbSnapshot::put_tables(CpuId cpu, unsigned level) const {
  host::HostCpu& target = trial_.machine.cpu(cpu);
  const std::uint16_t pcid = target.pcid();
  for (host::PscEntry entry : tables_) {
    if (level != 0 && entry.level() != level) continue;
    entry.pcid = pcid;
    if (target.tlb.find_table(entry.prefix << entry.shift, pcid, entry.level()) == nullptr) {
      target.tlb.psc.insert(entry);
    }
  }
}

}  // namespace shootdown::fuzz
