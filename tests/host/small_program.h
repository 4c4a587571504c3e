// Small random programs for several CPUs, for comparing explorations: what each can end in is a set
// of outcomes.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "hal/host/explore.h"
#include "tests/host/lab.h"

namespace shootdown::host {

/// What a random program may contain.
enum class Flavour : std::uint8_t { words, waits, pages, interrupts };

struct SmallOp {
  enum Kind : std::uint8_t {
    load,
    store,
    exchange,
    fence,
    await,  // until the word is not 0
    read_page,
    write_page,
    unmap,
    remap,
    invlpg,
    interrupt,  // send it to another CPU
    off,
    on,
  };
  Kind kind;
  unsigned object;  // word or page
};

struct SmallProgram {
  static constexpr unsigned kMaxCpus = 3;
  Memory memory{Memory::sc};
  unsigned cpus{2};
  bool fills{false};
  std::array<std::vector<SmallOp>, kMaxCpus> code{};
  std::vector<SmallOp> handler{};

  [[nodiscard]] bool uses_pages() const {
    const auto any = [](const std::vector<SmallOp>& ops) {
      for (const SmallOp& op : ops) {
        if (op.kind >= SmallOp::read_page && op.kind <= SmallOp::invlpg) return true;
      }
      return false;
    };
    return any(code[0]) || any(code[1]) || any(code[2]) || any(handler);
  }
};

/// Random, and small enough for plain enumeration most of the time.
inline SmallProgram random_program(std::uint64_t seed) {
  std::uint64_t state = seed * 0x9e37'79b9'7f4a'7c15;
  const auto below = [&](unsigned bound) {
    state ^= state >> 31;
    state *= 0xbf58'476d'1ce4'e5b9;
    state ^= state >> 27;
    return static_cast<unsigned>((state >> 20) % bound);
  };
  using enum SmallOp::Kind;
  static const std::array<std::vector<SmallOp::Kind>, 4> kKinds{{
      {load, load, store, store, exchange, fence},
      {load, store, store, store, await, exchange},
      {read_page, write_page, read_page, unmap, remap, invlpg},
      {load, store, store, interrupt, off, on, read_page, remap},
  }};
  static const std::array<std::vector<SmallOp::Kind>, 2> kHandlers{{
      {load, store, exchange, fence},
      {invlpg, load, store, store},
  }};
  SmallProgram program;
  const auto flavour = static_cast<Flavour>(below(4));
  program.memory = below(2) == 0 ? Memory::sc : Memory::tso;
  program.cpus = below(3) == 0 ? 3 : 2;
  const auto& kinds = kKinds[static_cast<unsigned>(flavour)];
  for (unsigned cpu = 0; cpu < program.cpus; ++cpu) {
    const unsigned length = 1 + below(program.cpus == 3 ? 2 : 3);
    for (unsigned i = 0; i < length; ++i) {
      program.code[cpu].push_back(
          {.kind = kinds[below(static_cast<unsigned>(kinds.size()))], .object = below(2)});
    }
  }
  if (flavour == Flavour::interrupts) {
    const auto& choice = kHandlers[below(2)];
    program.handler.push_back(
        {.kind = choice[below(static_cast<unsigned>(choice.size()))], .object = below(2)});
  }
  program.fills = program.uses_pages() && below(2) == 0;
  return program;
}

/// Runs a program again and again under a controller.
class SmallMachine {
 public:
  explicit SmallMachine(const SmallProgram& program) : program_(program) {}

  const Report& run(Controller& controller) {
    lab_.restart(
        {.cpus = program_.cpus,
         .memory = program_.memory,
         .controller = &controller,
         .fills = program_.fills ? std::vector<VirtAddr>{address(0)} : std::vector<VirtAddr>{}});
    for (auto& word : words_) word.poke(0);
    for (auto& seen : seen_) seen.clear();
    if (program_.uses_pages()) build_tables();
    for (CpuId cpu = 0; cpu < program_.cpus; ++cpu) {
      lab_.on(cpu, [this, cpu] { execute(program_.code[cpu]); });
    }
    lab_.on_interrupt([this] { execute(program_.handler); });
    return lab_.run();
  }

  /// What can be seen of a run that has ended: what CPUs read, memory, and cached translations.
  [[nodiscard]] std::string outcome() {
    std::string text;
    for (CpuId cpu = 0; cpu < program_.cpus; ++cpu) {
      for (const std::uint64_t value : seen_[cpu]) text += std::to_string(value) + ",";
      std::multiset<std::string> cached;
      for (const TlbEntry& entry : lab_.tlb(cpu).entries) {
        cached.insert(std::to_string(entry.page) + "=" + std::to_string(entry.frame) +
                      (entry.dirty ? "d" : ""));
      }
      for (const std::string& one : cached) text += one + ";";
      text += lab_.machine().cpu(cpu).finished ? "|" : "waits|";
    }
    for (const auto& word : words_) text += std::to_string(word.peek()) + ",";
    for (const std::uint64_t* entry : entries_) {
      if (program_.uses_pages()) text += std::to_string(*entry) + ",";
    }
    return text;
  }

  [[nodiscard]] std::uint64_t outcome_hash() { return lab_.machine().outcome_hash(); }

 private:
  static VirtAddr address(unsigned page) {
    return VirtAddr{0x4000} + (VirtAddr{page} << kPageShift);
  }

  void build_tables() {
    Tables tables(lab_.frames());
    for (unsigned page = 0; page < 2; ++page) {
      tables.map(address(page));
      entries_[page] = &tables.entry(address(page), 1);
      other_[page] = lab_.frames().allocate(FrameKind::data, 0, 0, 0);
    }
    for (CpuId cpu = 0; cpu < program_.cpus; ++cpu) lab_.machine().cpu(cpu).cr3 = tables.cr3(1);
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
      case SmallOp::write_page:
        saw(static_cast<std::uint64_t>(
            machine.access(address(op.object), op.kind == SmallOp::write_page)));
        break;
      case SmallOp::unmap:
        saw(machine.exchange_word(entries_[op.object], 0));
        break;
      case SmallOp::remap:
        saw(machine.exchange_word(entries_[op.object],
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
    }
  }

  const SmallProgram program_;
  Lab lab_;
  std::array<HostAtomic<std::uint32_t>, 2> words_;
  std::array<std::vector<std::uint64_t>, SmallProgram::kMaxCpus> seen_;
  std::array<std::uint64_t*, 2> entries_{};
  std::array<std::uint32_t, 2> other_{};
};

/// Everything that the program can end in.
struct Outcomes {
  std::set<std::string> texts;
  std::set<std::uint64_t> hashes;
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
                                  });
  return found;
}

}  // namespace shootdown::host
