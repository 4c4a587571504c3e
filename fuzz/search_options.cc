#include "fuzz/search_options.h"

#include <algorithm>
#include <cstdio>
#include <string_view>
#include <vector>

#include "fuzz/scenario/kinds.h"
#include "hal/host/command_line.h"

namespace shootdown::fuzz {

const char* const kSearchHelp =
#include "fuzz/search_help.inc"
    ;

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
