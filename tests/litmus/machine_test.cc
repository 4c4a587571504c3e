// Memory::cxx twice: the machine lets stores sink and loads rise, the litmus runner executes every
// order of the instructions that a compiler may choose. Programs must do the same on both, but for
// load buffering, which the machine does not have.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "litmus/bench.h"
#include "litmus/parse.h"
#include "litmus/run.h"

namespace shootdown::host::litmus {
namespace {

constexpr std::uint64_t kMostSteps = 5000;

class Dice {
 public:
  explicit Dice(std::uint64_t seed) : state_(seed * 0x9e37'79b9'7f4a'7c15 + 1) {}
  unsigned below(unsigned bound) {
    state_ ^= state_ >> 31;
    state_ *= 0xbf58'476d'1ce4'e5b9;
    state_ ^= state_ >> 27;
    return static_cast<unsigned>((state_ >> 20) % bound);
  }

 private:
  std::uint64_t state_;
};

// ---- Random programs

class ProgramWriter {
 public:
  explicit ProgramWriter(std::uint64_t seed) : dice_(seed) {}

  /// A litmus test that observes everything.
  std::string write() {
    const unsigned cpus = dice_.below(3) == 0 ? 3 : 2;
    std::vector<std::vector<std::string>> columns(cpus);
    for (unsigned cpu = 0; cpu < cpus; ++cpu) {
      loaded_.clear();
      const unsigned length = 2 + dice_.below(cpus == 3 ? 2 : 3);
      for (unsigned i = 0; i < length; ++i) add(cpu, columns[cpu]);
    }
    std::string text = "X86 random\n{ x=0; y=0; }\n";
    std::size_t rows = 0;
    for (unsigned cpu = 0; cpu < cpus; ++cpu) {
      text += (cpu == 0 ? " P" : " | P") + std::to_string(cpu);
      rows = std::max(rows, columns[cpu].size());
    }
    text += " ;\n";
    for (std::size_t row = 0; row < rows; ++row) {
      for (unsigned cpu = 0; cpu < cpus; ++cpu) {
        text += (cpu == 0 ? " " : " | ") + (row < columns[cpu].size() ? columns[cpu][row] : "");
      }
      text += " ;\n";
    }
    return text + "locations [" + observed_ + "x; y;]\nforall true\n";
  }

 private:
  std::string word() { return std::array{"[x]", "[y]"}[dice_.below(2)]; }
  std::string number() { return "$" + std::to_string(next_value_++); }
  std::string order(std::initializer_list<const char*> choices) {
    return *(choices.begin() + dice_.below(static_cast<unsigned>(choices.size())));
  }
  /// A register that the CPU has not used yet, and that the test looks at.
  std::string result(unsigned cpu) {
    static constexpr std::array<const char*, 6> kNames{"EAX", "EBX", "ECX", "EDX", "ESI", "EDI"};
    const std::string name = kNames.at(loaded_.size());
    observed_ += std::to_string(cpu) + ":" + name + "; ";
    loaded_.push_back(name);
    return name;
  }

  void add(unsigned cpu, std::vector<std::string>& code) {
    switch (dice_.below(12)) {
      case 0:
      case 1:
      case 2:
      case 3: {
        const std::string from = word();
        code.push_back("MOV" + order({"", "", ".acq"}) + " " + result(cpu) + "," + from);
        break;
      }
      case 4:
      case 5:
      case 6:
        code.push_back("MOV" + order({"", "", ".rel"}) + " " + word() + "," + number());
        break;
      case 7: {
        if (loaded_.empty()) return add(cpu, code);
        const std::string& value = loaded_[dice_.below(static_cast<unsigned>(loaded_.size()))];
        code.push_back("MOV" + order({"", ".rel"}) + " " + word() + "," + value);
        break;
      }
      case 8:
      case 9: {
        const std::string old = result(cpu);
        code.push_back("MOV " + old + "," + number());
        const std::string name = order({"XCHG", "LOCK XADD"});
        code.push_back(name + order({".rlx", ".acq", ".rel", ".acqrel", ""}) + " " + word() + "," +
                       old);
        break;
      }
      case 10:
        code.emplace_back("MFENCE");
        break;
      default:
        code.emplace_back("LFENCE");
        break;
    }
  }

  Dice dice_;
  unsigned next_value_{1};
  std::vector<std::string> loaded_;
  std::string observed_;
};

// ---- The machine

/// A few deviations, at random.
class RandomDeviations final : public ScheduleSource {
 public:
  RandomDeviations(std::uint64_t seed, unsigned cpus) : dice_(seed), cpus_(cpus) {
    left_ = dice_.below(12);
  }
  bool next(Action& action) override {
    if (left_ == 0) return false;
    --left_;
    constexpr std::array kKinds{EventKind::preempt, EventKind::drain, EventKind::overtake,
                                EventKind::stale};
    action.delay = dice_.below(3);
    action.kind = kKinds.at(dice_.below(kKinds.size()));
    action.cpu = dice_.below(cpus_);
    action.argument = 1 + dice_.below(3);
    if (action.kind == EventKind::overtake) --action.argument;
    return true;
  }

 private:
  Dice dice_;
  unsigned cpus_;
  unsigned left_;
};

using States = std::set<State>;

class OnTheMachine {
 public:
  explicit OnTheMachine(const Test& test) : test_(test), bench_(test, 4) {}

  State run(std::uint64_t seed) {
    RandomDeviations deviations(seed, test_.cpus);
    Setup setup = this->setup();
    setup.exploration.schedule = &deviations;
    bench_.prepare(setup);
    EXPECT_FALSE(bench_.machine().run().failed()) << bench_.machine().report().title;
    return state();
  }

  /// Every run, or as many as `most`. Whether these were all.
  bool run_all(std::uint64_t most, States& seen) {
    Explorer explorer(
        {.reduction = Reduction::none, .most_executions = most, .stop_at_failure = false});
    const auto once = [&]() -> const Report& {
      Setup setup = this->setup();
      setup.exploration.controller = &explorer;
      bench_.prepare(setup);
      return bench_.machine().run();
    };
    const auto visit = [&] {
      if (!bench_.cut()) seen.insert(state());
    };
    return explorer.explore(once, visit).complete;
  }

 private:
  static Setup setup() {
    return {.memory = Memory::compiler_reordering, .exploration = {.step_limit = kMostSteps}};
  }
  State state() {
    State all = bench_.state();
    all.resize(test_.shown);
    return all;
  }

  const Test& test_;
  Bench bench_;
};

States allowed(const Test& test, bool load_buffering) {
  const Result result = run(test, Memory::compiler_reordering, {.load_buffering = load_buffering});
  EXPECT_EQ(result.problem, "");
  EXPECT_TRUE(result.explored.complete);
  States states;
  for (const auto& [state, count] : result.states) states.insert(state);
  return states;
}

std::optional<Test> parsed(const std::string& text) {
  ParseError error;
  auto test = parse(text, error);
  EXPECT_TRUE(test.has_value()) << error.line << ": " << error.what << "\n" << text;
  return test;
}

std::string shown(const State& state) {
  std::string text;
  for (const std::int64_t value : state) text += std::to_string(value) + " ";
  return text;
}

void expect_within(const States& seen, const States& all, const std::string& what) {
  for (const State& state : seen) {
    ASSERT_TRUE(all.contains(state)) << "not allowed: " << shown(state) << "\n" << what;
  }
}

/// The same with two loads more at the end of each CPU, whose values no condition reads. The end of
/// a program drains the store buffer, and nothing happens between the last store and that.
litmus::Test prolonged(litmus::Test test) {
  Instruction load{.op = Op::mov, .width = test.locations[0].width};
  load.operands[0].kind = OperandKind::reg;
  load.operands[0].reg = {.number = kRegisters - 1, .width = load.width};
  load.operands[1].kind = OperandKind::memory;
  load.operands[1].location = 0;
  for (Column& column : test.columns) column.code.insert(column.code.end(), 2, load);
  return test;
}

TEST(CxxMachine, DoesNothingThatNoOrderAllows) {
  constexpr std::uint64_t kPrograms = 1500;
  constexpr std::uint64_t kRuns = 300;
  std::uint64_t outcomes = 0;
  std::uint64_t all_outcomes = 0;
  for (std::uint64_t seed = 1; seed <= kPrograms; ++seed) {
    const std::string text = ProgramWriter(seed).write();
    const auto test = parsed(text);
    ASSERT_TRUE(test.has_value());
    const States all = allowed(*test, true);
    const litmus::Test longer = prolonged(*test);
    OnTheMachine machine(longer);
    States seen;
    for (std::uint64_t i = 0; i < kRuns; ++i) seen.insert(machine.run((seed << 20) + i));
    expect_within(seen, all, text);
    if (HasFatalFailure()) return;
    outcomes += seen.size();
    all_outcomes += all.size();
  }
  EXPECT_GE(outcomes, 7000U);
  std::printf("%llu programs, %llu runs each: %llu of %llu outcomes\n",
              static_cast<unsigned long long>(kPrograms), static_cast<unsigned long long>(kRuns),
              static_cast<unsigned long long>(outcomes),
              static_cast<unsigned long long>(all_outcomes));
}

TEST(CxxMachine, DoesEverythingButLoadBuffering) {
  constexpr std::uint64_t kPrograms = 600;
  constexpr std::uint64_t kMost = 10000;
  std::uint64_t whole = 0;
  std::uint64_t outcomes = 0;
  for (std::uint64_t seed = 1; seed <= kPrograms; ++seed) {
    const std::string text = ProgramWriter(seed).write();
    const auto test = parsed(text);
    ASSERT_TRUE(test.has_value());
    States seen;
    const bool complete = OnTheMachine(*test).run_all(kMost, seen);
    const States all = allowed(*test, false);
    expect_within(seen, all, text);
    if (HasFatalFailure()) return;
    if (!complete) continue;
    ++whole;
    outcomes += seen.size();
    for (const State& state : all) {
      ASSERT_TRUE(seen.contains(state)) << "not seen: " << shown(state) << "\n" << text;
    }
  }
  EXPECT_GE(whole, 350U);
  std::printf("%llu programs compared wholly, %llu outcomes\n",
              static_cast<unsigned long long>(whole), static_cast<unsigned long long>(outcomes));
}

std::optional<Test> test_in(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return parsed(text.str());
}

TEST(CxxMachine, DoesWhatTheSuitesAllow) {
  constexpr std::uint64_t kMost = 40000;
  // The machine does not see that an address depends on a load. C++ promises an order to consume
  // only, compilers keep one.
  const std::set<std::string> more{"MP+rel+addr"};
  unsigned whole = 0;
  unsigned buffering = 0;
  for (const std::string folder : {"x86", "cxx"}) {
    for (const auto& entry : std::filesystem::directory_iterator("tests/litmus/" + folder)) {
      const auto test = test_in(entry.path());
      ASSERT_TRUE(test.has_value());
      States seen;
      const bool complete = OnTheMachine(*test).run_all(kMost, seen);
      const States all = allowed(*test, false);
      if (more.contains(test->name)) {
        EXPECT_GT(seen.size(), all.size());
        continue;
      }
      expect_within(seen, all, entry.path());
      if (HasFatalFailure()) return;
      if (!complete) continue;
      ++whole;
      if (seen != allowed(*test, true)) ++buffering;
      EXPECT_EQ(seen, all) << entry.path();
    }
  }
  EXPECT_GE(whole, 100U);
  EXPECT_GE(buffering, 10U);
  std::printf("%u tests compared wholly, %u of them with load buffering\n", whole, buffering);
}

TEST(CxxMachine, ShowsTheClassicShapesAtRandom) {
  constexpr std::uint64_t kRuns = 20000;
  for (const std::string path :
       {"x86/SB", "x86/MP", "x86/LB", "x86/S", "x86/R", "x86/2+2W", "x86/CoRR", "x86/CoWR",
        "cxx/MP+rel+acq", "cxx/MP+rel+po", "cxx/MP+po+acq", "cxx/SB+rels+acqs", "cxx/LB+rel+acq",
        "cxx/2+2W+rels", "cxx/2+2W+rel+po", "cxx/S+rel+acq", "cxx/S+po+acq", "cxx/R+rels"}) {
    const auto test = test_in("tests/litmus/" + path + ".litmus");
    ASSERT_TRUE(test.has_value());
    const litmus::Test longer = prolonged(*test);
    OnTheMachine machine(longer);
    States seen;
    for (std::uint64_t i = 0; i < kRuns; ++i) seen.insert(machine.run(i));
    EXPECT_EQ(seen, allowed(*test, false)) << path;
  }
}

}  // namespace
}  // namespace shootdown::host::litmus
