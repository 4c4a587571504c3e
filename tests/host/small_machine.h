// Runs small programs: what each can end in is a set of outcomes.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "hal/host/device.h"
#include "hal/host/explore.h"
#include "tests/host/machine_fixture.h"
#include "tests/host/small_program.h"

namespace shootdown::host {

/// Runs a program again and again under a controller.
class SmallMachine {
 public:
  static constexpr std::uint64_t kFault = 99;  // seen by an access that faults

  explicit SmallMachine(const SmallProgram& program) : program_(program) {}

  const Report& run(Controller& controller) {
    lab_.restart(setup_for(controller));
    for (auto& word : words_) word.poke(0);
    for (auto& word : own_) word.poke(0);
    fields_ = {};
    for (auto& seen : seen_) seen.clear();
    if (program_.uses_pages()) build_tables();
    for (CpuId cpu = 0; cpu < program_.cpus; ++cpu) {
      lab_.on(cpu, [this, cpu] { execute(program_.code[cpu]); });
    }
    lab_.on_interrupt([this] { execute(program_.handler); });
    lab_.on_nmi([this] { execute(program_.nmi_handler); });
    lab_.on_reschedule([this] {
      HostHal::enable_interrupts();
      lab_.machine().scheduler().exchange_threads();
      HostHal::disable_interrupts();
    });
    return lab_.run();
  }

  /// What can be seen of a run that has ended: what CPUs read, memory, and cached translations.
  [[nodiscard]] std::string outcome() {
    std::string text;
    for (CpuId cpu = 0; cpu < program_.cpus; ++cpu) {
      for (const std::uint64_t value : seen_[cpu]) text += std::to_string(value) + ",";
      text += content(lab_.tlb(cpu));
      text += lab_.machine().cpu(cpu).thread->finished ? "|" : "waits|";
    }
    for (const auto& word : words_) text += std::to_string(word.peek()) + ",";
    for (const auto& word : own_) text += std::to_string(word.peek()) + ",";
    for (const auto& field : fields_) text += std::to_string(field.peek()) + ",";
    if (program_.uses_pages()) {
      for (const std::uint64_t* entry : entries_) text += std::to_string(*entry) + ",";
      for (const std::uint32_t frame : frames_) {
        text += std::to_string(*lab_.frames().words(frame)) + ",";
      }
    }
    return text + content(lab_.machine().device().tlb());
  }

  [[nodiscard]] const Report& report() { return lab_.machine().report(); }
  [[nodiscard]] std::uint64_t outcome_hash() { return lab_.machine().controlled().outcome_hash(); }

 private:
  static constexpr unsigned kStallLimit = 2;

  static VirtAddr address(unsigned page) {
    return VirtAddr{0x4000} + (VirtAddr{page} << kPageShift);
  }

  [[nodiscard]] Setup setup_for(Controller& controller) const {
    Setup setup{.hardware = {.cpus = program_.cpus,
                             .weak_ipi = program_.weak_ipi,
                             .backend = program_.preemptions != 0 ? Backend::kvm : Backend::native},
                .memory = program_.memory};
    Exploration& exploration = setup.exploration;
    exploration.controller = &controller;
    for (const auto& [page, level] : program_.fills) {
      exploration.fills.push_back({.address = address(page), .level = level});
    }
    for (const unsigned page : program_.evictions) exploration.evictions.push_back(address(page));
    exploration.nmis.assign(program_.nmis, address(0));
    for (const auto& [page, level] : program_.device_walks) {
      exploration.device_walks.push_back(
          {.context = 0, .walk = {.address = address(page), .level = level}});
    }
    exploration.losses = program_.losses;
    exploration.duplicates = program_.duplicates;
    exploration.stall_limit = program_.losses != 0 ? kStallLimit : 0;
    exploration.preemptions = program_.preemptions;
    exploration.migrations = program_.migrations;
    exploration.own_accesses = exploration.own_fields = program_.own_accesses;
    return setup;
  }

  /// Translations and pointers to tables, in no order.
  static std::string content(const Tlb& tlb) {
    std::multiset<std::string> cached;
    for (const TlbEntry& entry : tlb.entries) {
      cached.insert(std::to_string(entry.page) + "=" + std::to_string(entry.frame) +
                    (entry.dirty ? "d" : ""));
    }
    for (const PscEntry& pointer : tlb.psc) {
      cached.insert(std::to_string(pointer.level()) + ">" + std::to_string(pointer.table));
    }
    std::string text;
    for (const std::string& one : cached) text += one + ";";
    return text;
  }

  void build_tables() {
    Tables tables(lab_.frames());
    for (unsigned page = 0; page < 2; ++page) {
      tables.map(address(page));
      entries_[page] = &tables.entry(address(page), 1);
      frames_[page] = FramePool::frame_at(*entries_[page]);
      frames_[2 + page] = other_[page] = lab_.frames().allocate(FrameKind::data, 0, 0, 0);
    }
    if (program_.aliased) *entries_[1] = *entries_[0];
    entries_[2] = &tables.entry(address(0), 2);
    other_table_ = lab_.frames().allocate(FrameKind::table, 0, 0, 0);
    for (unsigned page = 0; page < 2; ++page) {
      lab_.frames().words(other_table_)[table_index(address(page), 1)] =
          FramePool::address(other_[1 - page]) | Tables::kLeaf;
    }
    for (CpuId cpu = 0; cpu < program_.cpus; ++cpu) lab_.machine().cpu(cpu).cr3 = tables.cr3(1);
    lab_.machine().device().bind(0, tables.cr3(0));
  }

  void saw(std::uint64_t value) { seen_[lab_.machine().running().id].push_back(value); }

  void execute(const std::vector<SmallOp>& code) {
    for (const SmallOp& op : code) execute(op);
  }

  void execute(const SmallOp& op) {
    Machine& machine = lab_.machine();
    auto& word = words_[op.object];
    const CpuId self = machine.running().id;
    switch (op.kind) {
      case SmallOp::load:
        saw(word.load(std::memory_order_relaxed));
        break;
      case SmallOp::store:
        word.store(self + 1, std::memory_order_relaxed);
        break;
      case SmallOp::exchange:
        saw(word.exchange(self + 4, std::memory_order_relaxed));
        break;
      case SmallOp::fence:
        HostHal::full_fence();
        break;
      case SmallOp::await:
        while (word.load(std::memory_order_relaxed) == 0) HostHal::pause();
        break;
      case SmallOp::read_page:
        saw(machine.translation().load(address(op.object)).value_or(kFault));
        break;
      case SmallOp::write_page:
        if (machine.translation().store(address(op.object), self + 1) == AccessResult::fault) {
          saw(kFault);
        }
        break;
      case SmallOp::unmap:
        saw(machine.memory().exchange_word(entries_[op.object], 0));
        break;
      case SmallOp::remap:
        saw(machine.memory().exchange_word(entries_[op.object],
                                           FramePool::address(other_[op.object]) | Tables::kLeaf));
        break;
      case SmallOp::invlpg:
        HostHal::invlpg(address(op.object));
        break;
      case SmallOp::interrupt: {
        HostCpuMask target;
        target.set((self + 1) % program_.cpus);
        HostHal::send_call_function_ipi(target);
        break;
      }
      case SmallOp::off:
        HostHal::disable_interrupts();
        break;
      case SmallOp::on:
        HostHal::enable_interrupts();
        break;
      default:
        execute_for_actor(op);
        break;
    }
  }

  void execute_for_actor(const SmallOp& op) {
    Machine& machine = lab_.machine();
    if (op.kind == SmallOp::remap_plainly) {
      machine.memory().store_word(entries_[op.object],
                                  FramePool::address(other_[op.object]) | Tables::kLeaf,
                                  std::memory_order_relaxed);
    } else if (op.kind == SmallOp::ordered_interrupt) {
      HostCpuMask target;
      target.set((machine.running().id + 1) % program_.cpus);
      HostHal::order_stores_before_ipi();
      HostHal::send_call_function_ipi(target);
    } else if (op.kind == SmallOp::retable) {
      saw(machine.memory().exchange_word(entries_[2],
                                         FramePool::address(other_table_) | Tables::kLeaf));
    } else if (op.kind == SmallOp::forget) {
      machine.scheduler().visible();
      machine.device().forget(0, address(op.object), address(op.object + 1));
      machine.changed();
    } else if (op.kind == SmallOp::stay) {
      HostHal::disable_preemption();
    } else if (op.kind == SmallOp::own_load) {
      saw(own_[machine.running().id].owner_load());
    } else if (op.kind == SmallOp::own_store) {
      auto& mine = own_[machine.running().id];
      mine.store(mine.owner_load() + 1, std::memory_order_relaxed);
    } else if (op.kind == SmallOp::field_load) {
      saw(fields_[machine.running().id]);
    } else if (op.kind == SmallOp::field_add) {
      HostOwn<std::uint32_t>& mine = fields_[machine.running().id];
      mine = mine + 1;
    } else {
      unsigned pauses = 0;
      while (words_[op.object].load(std::memory_order_relaxed) == 0) {
        HostHal::pause();
        if (++pauses == kStallLimit)
          machine.interrupts().send_again((machine.running().id + 1) % program_.cpus);
      }
    }
  }

  const SmallProgram program_;
  MachineFixture lab_;
  std::array<HostAtomic<std::uint32_t>, 2> words_;
  std::array<HostAtomic<std::uint32_t>, SmallProgram::kMaxCpus> own_;
  std::array<HostOwn<std::uint32_t>, SmallProgram::kMaxCpus> fields_;
  std::array<std::vector<std::uint64_t>, SmallProgram::kMaxCpus> seen_;
  std::array<std::uint64_t*, 3> entries_{};  // of both pages, and of their page table
  std::array<std::uint32_t, 2> other_{};
  std::array<std::uint32_t, 4> frames_{};  // of the pages, and those that they may have later
  std::uint32_t other_table_{0};
};

/// Everything that the program can end in.
struct Outcomes {
  std::set<std::string> texts;
  std::set<std::uint64_t> hashes;
  std::set<std::string> failures;  // deadlocks and the like, by their titles
  ExploreResult result;
};

inline Outcomes outcomes_of(const SmallProgram& program, const ExploreOptions& options) {
  Outcomes found;
  SmallMachine machine(program);
  Explorer explorer(options);
  found.result = explorer.explore([&]() -> const Report& { return machine.run(explorer); },
                                  [&] {
                                    found.texts.insert(machine.outcome());
                                    found.hashes.insert(machine.outcome_hash());
                                    if (machine.report().failed()) {
                                      found.failures.insert(machine.report().title);
                                    }
                                  });
  return found;
}

}  // namespace shootdown::host
