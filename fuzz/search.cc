// Search without an engine: random scenarios, counted, from a seed, under one of several strategies
// of scheduling. The honest baseline beside the guided engines, and fast enough for tests.
#include <algorithm>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "fuzz/files.h"
#include "fuzz/generate.h"
#include "fuzz/kinds.h"
#include "fuzz/runner.h"
#include "fuzz/story.h"
#include "fuzz/strategy.h"

namespace {

using namespace shootdown::fuzz;

constexpr const char* kHelp =
    "usage: search [OPTION]...\n"
    "Runs random scenarios until an oracle fires or the count is reached.\n"
    "\n"
    "  --seed S          first seed (default 1); run i uses seed S + i\n"
    "  --executions N    how many runs at most (default 100000)\n"
    "  --cpus N          simulated CPUs, 1 to 8 (default 4)\n"
    "  --ops N           operations per CPU, 1 to 16 (default 8)\n"
    "  --deviations N    deviations from the default schedule at most, 0 to 64 (default 16)\n"
    "  --strategy NAME   who decides when things happen (default random):\n"
    "                    random, the generator, which knows nothing of the run;\n"
    "                    walk, a walk among the CPUs;\n"
    "                    pct, priorities of CPUs, store buffers and interrupts that change at 0 to "
    "4\n"
    "                    moments; of six runs of a scenario the first measures its length;\n"
    "                    aimed, preemptions and fills where interrupts are off\n"
    "  --backend NAME    always native, kvm, hyperv, xen or uv (default: mostly native)\n"
    "  --turn SWITCH     a yes-or-no field of the configuration, such as broadcast, that is not "
    "at\n"
    "                    its default in any run; up to three with a plus between them\n"
    "  --any-switch      in half of the runs turn a switch that otherwise turns on request only,\n"
    "                    such as nmi or device; in half turn the others as often as not; and more\n"
    "                    runs above a hypervisor\n"
    "  --chains          in half of the runs some operations belong together, such as split and\n"
    "                    collapse of one page\n"
    "  --out FILE        write the scenario that fired to FILE\n"
    "  --progress        tell on stderr every 100000 runs\n"
    "  --help            this text\n"
    "\n"
    "exit status: 0 nothing found, 1 an oracle fired, 2 bad usage or a report that does not "
    "replay\n";

struct Options {
  std::uint64_t seed{1};
  std::uint64_t executions{100000};
  GenerateOptions generate{};
  Strategy strategy{Strategy::random};
  bool progress{false};
  std::string out;
};

struct NumberOption {
  std::string_view name;
  std::uint64_t least;
  std::uint64_t most;
  std::uint64_t* wide;
  unsigned* narrow;
};

bool set_number(const NumberOption& option, const char* text) {
  char* end = nullptr;
  const std::uint64_t number = text != nullptr ? std::strtoull(text, &end, 10) : 0;
  if (text == nullptr || *text == '\0' || *text == '-' || *end != '\0' || number < option.least ||
      number > option.most) {
    std::fprintf(stderr, "search: %s needs a number from %" PRIu64 " to %" PRIu64 "\n",
                 std::string(option.name).c_str(), option.least, option.most);
    return false;
  }
  if (option.wide != nullptr) *option.wide = number;
  if (option.narrow != nullptr) *option.narrow = static_cast<unsigned>(number);
  return true;
}

bool set_strategy(std::string_view text, Strategy& strategy) {
  const auto found = std::find(kStrategyNames.begin(), kStrategyNames.end(), text);
  if (found == kStrategyNames.end()) return false;
  strategy = static_cast<Strategy>(found - kStrategyNames.begin());
  return true;
}

bool set_backend(std::string_view text, Backend& backend) {
  const auto found = std::find(kBackendNames.begin(), kBackendNames.end(), text);
  if (found == kBackendNames.end()) return false;
  backend = static_cast<Backend>(found - kBackendNames.begin());
  return true;
}

/// Switches with a plus between them.
bool set_turned(std::string_view text, GenerateOptions& options) {
  options.turned = {};
  for (auto& turned : options.turned) {
    const std::string_view name = text.substr(0, text.find('+'));
    for (const HeaderSwitch& one : kHeaderSwitches) {
      if (one.name == name) turned = &one;
    }
    if (turned == nullptr) return false;
    if (name.size() == text.size()) return true;
    text.remove_prefix(name.size() + 1);
  }
  return false;
}

bool parse_options(int argc, char** argv, Options& options) {
  const NumberOption numbers[] = {
      {"--seed", 0, ~std::uint64_t{0}, &options.seed, nullptr},
      {"--executions", 1, ~std::uint64_t{0}, &options.executions, nullptr},
      {"--cpus", 1, kMaxCpus, nullptr, &options.generate.cpus},
      {"--ops", 1, kMaxOpsPerCpu, nullptr, &options.generate.ops_per_cpu},
      {"--deviations", 0, kMaxDeviations, nullptr, &options.generate.max_deviations},
  };
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    bool known = false;
    for (const NumberOption& option : numbers) {
      if (word != option.name) continue;
      known = true;
      if (!set_number(option, i + 1 < argc ? argv[++i] : nullptr)) return false;
    }
    if (word == "--progress") {
      options.progress = known = true;
    } else if (word == "--any-switch") {
      options.generate.any_switch = known = true;
    } else if (word == "--chains") {
      options.generate.chains = known = true;
    } else if (word == "--strategy" && i + 1 < argc) {
      known = set_strategy(argv[++i], options.strategy);
    } else if (word == "--backend" && i + 1 < argc) {
      known = set_backend(argv[++i], options.generate.backend);
    } else if (word == "--turn" && i + 1 < argc) {
      known = set_turned(argv[++i], options.generate);
    } else if (word == "--out" && i + 1 < argc) {
      options.out = argv[++i];
      known = true;
    }
    if (known) continue;
    std::fprintf(stderr, "search: cannot use %s; --help lists the options\n", argv[i]);
    return false;
  }
  return true;
}

/// Whether the scenario, with the deviations that the strategy has written down, is the run that
/// failed. Anything else is not a report but a mistake in the strategy.
bool replays(Runner& runner, const Scenario& scenario) {
  const std::string reported = title(runner.report());
  const std::uint64_t hash = runner.machine().trace_hash();
  runner.run(scenario);
  return runner.report().failed() && title(runner.report()) == reported &&
         runner.machine().trace_hash() == hash;
}

/// Writes the scenario and says what it shows. Returns the exit status.
int report(const Runner& runner, const Scenario& scenario, const Options& options,
           std::uint64_t executions) {
  std::printf("found %s after %" PRIu64 " executions\n", title(runner.report()).c_str(),
              executions);
  std::string error;
  if (!options.out.empty() && !save(options.out, scenario, error)) {
    std::fprintf(stderr, "search: %s\n", error.c_str());
    return 2;
  }
  return 1;
}

int search(const Options& options) {
  auto* runner = new Runner;
  auto* search = new Search(*runner, options.strategy, options.generate);
  std::uint64_t operations = 0;
  std::uint64_t lost = 0;
  for (std::uint64_t i = 0; i < options.executions; ++i) {
    const bool failed = search->run(options.seed + i).failed();
    operations += runner->machine().step();
    if (failed) {
      if (replays(*runner, search->scenario())) {
        return report(*runner, search->scenario(), options, i + 1);
      }
      ++lost;
    }
    if (options.progress && (i + 1) % 100000 == 0) {
      std::fprintf(stderr, "%" PRIu64 " executions, %" PRIu64 " visible operations\n", i + 1,
                   operations);
    }
  }
  if (lost != 0) {
    std::fprintf(stderr, "search: %" PRIu64 " reports cannot be replayed as scenarios\n", lost);
    return 2;
  }
  std::printf("clean after %" PRIu64 " executions, %" PRIu64 " visible operations\n",
              options.executions, operations);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--help") == 0) {
      std::fputs(kHelp, stdout);
      return 0;
    }
  }
  Options options;
  if (!parse_options(argc, argv, options)) return 2;
  return search(options);
}
