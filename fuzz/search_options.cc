#include "fuzz/search_options.h"

#include <algorithm>
#include <cstdio>
#include <string_view>
#include <vector>

#include "fuzz/scenario/kinds.h"
#include "hal/host/command_line.h"

namespace shootdown::fuzz {

const char* const kSearchHelp =
    "usage: search [OPTION]...\n"
    "Runs random scenarios until an oracle fires or the count is reached.\n"
    "\n"
    "  --seed S          first seed (default 1); run i uses seed S + i\n"
    "  --executions N    how many runs at most (default 100000)\n"
    "  --cpus N          simulated CPUs, 1 to 8 (default: drawn, mostly 2 to 4); search_wide has\n"
    "                    up to 72 and draws them, a few that work and many that run the mm\n"
    "  --ops N           operations per CPU, 1 to 16 (default: drawn for each)\n"
    "  --deviations N    deviations from the default schedule at most, 0 to 64 (default 32)\n"
    "  --strategy NAME   what decides when things happen (default random):\n"
    "                    random, the generator, which knows nothing of the run;\n"
    "                    walk, a walk among the CPUs;\n"
    "                    pct, priorities of CPUs, store buffers and interrupts that change at 0 to "
    "4\n"
    "                    moments; of six runs of a scenario the first measures its length;\n"
    "                    aimed, preemptions and fills where interrupts are off\n"
    "  --backend NAME    always native, kvm, hyperv, xen or uv_bau (default: mostly native)\n"
    "  --turn SWITCH     a yes-or-no field of the configuration, such as broadcast, that is not "
    "at\n"
    "                    its default in any run; up to three with a plus between them\n"
    "  --focus NAME      every run has this focus: switches and operations that belong together;\n"
    "                    the blanks of its name may be underscores, its commas left out\n"
    "                    (default: half of the runs have one, each as often)\n"
    "  --list-focuses    only tells their names\n"
    "  --plain           no focus, and scenarios as the counted tests have them: 4 CPUs with 8\n"
    "                    operations and up to 16 deviations, if nothing else is said. The next "
    "two\n"
    "                    belong to it; otherwise they are always on\n"
    "  --any-switch      in half of the runs turn a switch that otherwise turns on request only,\n"
    "                    such as nmi or device; in half turn the others as often as not; and more\n"
    "                    runs above a hypervisor\n"
    "  --chains          in half of the runs some operations belong together, such as split and\n"
    "                    collapse of one page\n"
    "  --hashes FILE     write the trace hash of each run to FILE, 8 bytes each. Two programs with "
    "the\n"
    "                    same options did the same where their hashes are the same\n"
    "  --migrate         in every run threads move from CPU to CPU; without --plain they do in one "
    "of\n"
    "                    three anyway\n"
    "  --exhaustive-chains N\n"
    "                    no random runs, but all chains of up to four operations on one region, "
    "on\n"
    "                    2 and 3 CPUs, with up to N preemptions, 0 to 2; --seed is the first of "
    "the\n"
    "                    families of runs, and what is begun of them is done to its end\n"
    "  --out FILE        write the scenario that fired to FILE: as text if FILE ends in .txt, else "
    "as bytes\n"
    "  --replay FILE     search nothing; tell the story of FILE with the core that this program "
    "searches\n"
    "  --first           stop at the first report. Otherwise the search goes on for as many "
    "executions as\n"
    "                    it took, but 2000 at least and 40000 at most, and shows the report that\n"
    "                    explains most: no order, needless work or count, sequential memory, the\n"
    "                    default configuration\n"
    "  --progress        tell on stderr every 100000 runs\n"
    "  --help            this text\n"
    "\n"
    "Paths are relative to where you stand. //fuzz:reproduce tells stories, too, and makes "
    "scenarios "
    "smaller.\n"
    "\n"
    "exit status: 0 nothing found, 1 an oracle fired, 2 bad usage, a file that cannot be read or "
    "written,\n"
    "a report that does not replay, or stopped before the end; Ctrl-C tells how far it came\n";

namespace {

bool usage_error(const std::string& what) {
  std::fprintf(stderr, "search: %s; --help tells more\n", what.c_str());
  return false;
}

struct NumberOption {
  std::string_view name;
  std::uint64_t least;
  std::uint64_t most;
  std::uint64_t* wide;
  unsigned* narrow;
};

bool set_number(const NumberOption& option, const char* text) {
  std::uint64_t number = 0;
  if (!host::parse_number(text, option.least, option.most, number)) {
    return usage_error(std::string(option.name) + " needs a number " +
                       host::describe_range(option.least, option.most));
  }
  if (option.wide != nullptr) *option.wide = number;
  if (option.narrow != nullptr) *option.narrow = static_cast<unsigned>(number);
  return true;
}

template <class Names>
std::string list_of(const Names& names) {
  std::string text;
  for (const std::string_view name : names) text.append(text.empty() ? "" : ", ").append(name);
  return text;
}

/// A value that is one of `names`, in their order.
template <class Value, class Names>
bool set_named(const char* option, const char* text, const Names& names, Value& value) {
  const std::string_view word = text ? text : "";
  const auto found = std::find(names.begin(), names.end(), current_name(word));
  if (found == names.end())
    return usage_error(std::string(option) + " needs one of " + list_of(names));
  value = static_cast<Value>(found - names.begin());
  return true;
}

bool set_name(const char* option, const char* text, std::string& name) {
  if (text == nullptr || *text == '\0')
    return usage_error(std::string(option) + " needs a file name");
  name = text;
  return true;
}

/// Switches with a plus between them.
bool read_turned(std::string_view text, GenerateOptions& options) {
  options.turned = {};
  for (auto& turned : options.turned) {
    const std::string_view word = text.substr(0, text.find('+'));
    const std::string_view name = current_name(word);
    for (const HeaderSwitch& one : kHeaderSwitches) {
      if (one.name == name) turned = &one;
    }
    if (turned == nullptr) return false;
    if (word.size() == text.size()) return true;
    text.remove_prefix(word.size() + 1);
  }
  return false;
}

bool set_turned(const char* text, GenerateOptions& options) {
  if (text != nullptr && read_turned(text, options)) return true;
  std::vector<std::string_view> names;
  names.reserve(kHeaderSwitches.size());
  for (const HeaderSwitch& one : kHeaderSwitches) names.push_back(one.name);
  return usage_error("--turn needs up to " + std::to_string(options.turned.size()) +
                     " switches with a plus between them, of " + list_of(names));
}

bool set_focus(const char* text, GenerateOptions& options) {
  options.focus = find_focus(text ? text : "");
  return options.focus != nullptr ||
         usage_error("--focus needs one of those that --list-focuses tells");
}

/// One option; `value` takes the word behind it, or nothing. Returns false after telling what is
/// wrong.
template <class Value>
bool parse_option(const char* name, Value&& value, SearchOptions& options) {
  const NumberOption numbers[] = {
      {"--seed", 0, ~std::uint64_t{0}, &options.seed, nullptr},
      {"--executions", 1, ~std::uint64_t{0}, &options.executions, nullptr},
      {"--cpus", 1, kMaxCpus, nullptr, &options.generate.cpus},
      {"--ops", 1, kMaxOpsPerCpu, nullptr, &options.generate.ops_per_cpu},
      {"--deviations", 0, kMaxDeviations, nullptr, &options.generate.max_deviations},
      {"--exhaustive-chains", 0, 2, nullptr, &options.chain_preemptions},
  };
  const std::string_view word = name;
  options.chains |= word == "--exhaustive-chains";
  options.cpus_given |= word == "--cpus";
  options.ops_given |= word == "--ops";
  options.deviations_given |= word == "--deviations";
  for (const NumberOption& option : numbers) {
    if (word == option.name) return set_number(option, value());
  }
  if (word == "--strategy") return set_named(name, value(), kStrategyNames, options.strategy);
  if (word == "--backend") return set_named(name, value(), kBackendNames, options.generate.backend);
  if (word == "--turn") return set_turned(value(), options.generate);
  if (word == "--focus") return set_focus(value(), options.generate);
  if (word == "--hashes") return set_name(name, value(), options.hashes);
  if (word == "--plain") return options.plain = true;
  if (word == "--out") return set_name(name, value(), options.out);
  if (word == "--replay") return set_name(name, value(), options.replay);
  if (word == "--progress") return options.progress = true;
  if (word == "--first") return options.first = true;
  if (word == "--any-switch") return options.generate.any_switch = true;
  if (word == "--chains") return options.generate.chains = true;
  if (word == "--migrate") return options.migrate = true;
  return usage_error((word.starts_with("-") ? "unknown option " : "no use for the word ") +
                     host::shell_quoted(word));
}

/// What a search does if it is not plain.
void search_everywhere(SearchOptions& options) {
  GenerateOptions& generate = options.generate;
  generate.draw_cpus = !options.cpus_given;
  generate.draw_ops = !options.ops_given;
  if (!options.deviations_given) generate.max_deviations = kEverywhere.max_deviations;
  generate.any_switch = generate.chains = generate.focused = true;
  generate.migrate = kEverywhere.migrate;
}

}  // namespace

bool parse_options(int argc, char** argv, SearchOptions& options) {
  for (int i = 1; i < argc; ++i) {
    const char* const name = argv[i];
    const auto value = [&]() -> const char* { return i + 1 < argc ? argv[++i] : nullptr; };
    if (!parse_option(name, value, options)) return false;
  }
  constexpr int kReplayAlone = 3;
  if (!options.replay.empty() && argc != kReplayAlone) {
    return usage_error("--replay takes no other option");
  }
  if (!options.plain) search_everywhere(options);
  if (options.migrate) options.generate.migrate = Migrate::in_all;
  if (options.plain) {
    return options.generate.focus == nullptr || usage_error("--plain has no focus");
  }
  return true;
}

}  // namespace shootdown::fuzz
