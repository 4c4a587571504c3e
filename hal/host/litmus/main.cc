// Runs litmus tests from files on the modelled machine.
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "hal/host/litmus/parse.h"
#include "hal/host/litmus/run.h"

namespace {

using namespace shootdown::host;
using namespace shootdown::host::litmus;

constexpr int kOk = 0;
constexpr int kUnexpected = 1;
constexpr int kWrong = 2;

constexpr const char* kHelp =
    "usage: litmus [OPTION]... FILE...\n"
    "Runs litmus tests of x86 (herd's format) in every interleaving on the modelled machine.\n"
    "\n"
    "  --memory MODE    sc, tso, cxx or all; default: those of the test's line 'Expect=', else "
    "all;\n"
    "                   cxx: each MOV is a relaxed access of C++, and a compiler reorders\n"
    "  --plain          every interleaving one by one, without partial-order reduction\n"
    "  --limit N        give up a test after N executions (0, the default: never)\n"
    "  --unroll N       how often a CPU may jump back in an execution (default 4)\n"
    "  --help           this text\n"
    "\n"
    "Counts are of executions explored, so with reduction one stands for many. "
    "hal/host/litmus/README.md\n"
    "describes the format, with its extensions for virtual memory.\n"
    "\n"
    "exit status: 0 all tests ran, and showed what their 'Expect=' lines say; 1 some showed\n"
    "something else; 2 bad usage, or a file that cannot be read, parsed or run to its end\n";

struct Options {
  std::vector<Memory> memories;  // empty: as the test says
  RunOptions run;
  std::vector<std::string> files;
};

struct Summary {
  unsigned runs{0};
  unsigned unexpected{0};
  unsigned wrong{0};
};

bool usage_error(const std::string& what) {
  std::fprintf(stderr, "litmus: %s; --help tells more\n", what.c_str());
  return false;
}

bool parse_memory(const char* word, Options& options) {
  options.memories.clear();
  if (word != nullptr && std::strcmp(word, "all") == 0) {
    for (const MemoryName& one : kMemories) options.memories.push_back(one.memory);
    return true;
  }
  const auto memory = find_memory(word == nullptr ? "" : word);
  if (!memory) {
    return usage_error("--memory needs sc, tso, cxx or all");
  }
  options.memories.push_back(*memory);
  return true;
}

bool parse_number(const char* option, const char* word, std::uint64_t& number) {
  const char* end = word == nullptr ? nullptr : word + std::strlen(word);
  const auto result = std::from_chars(word, end, number);
  if (word != nullptr && result.ec == std::errc() && result.ptr == end) return true;
  return usage_error(std::string(option) + " needs a number");
}

/// Returns false after telling what is wrong.
bool parse_options(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    const auto value = [&]() -> const char* { return i + 1 < argc ? argv[++i] : nullptr; };
    if (word == "--plain") {
      options.run.reduction = Reduction::none;
    } else if (word == "--memory") {
      if (!parse_memory(value(), options)) return false;
    } else if (word == "--limit") {
      std::uint64_t limit = 0;
      if (!parse_number("--limit", value(), limit)) return false;
      if (limit != 0) options.run.most_executions = limit;
    } else if (word == "--unroll") {
      std::uint64_t repeats = 0;
      if (!parse_number("--unroll", value(), repeats)) return false;
      options.run.most_repeats = static_cast<unsigned>(repeats);
    } else if (word.starts_with("-") && word != "-") {
      return usage_error("unknown option " + std::string(word));
    } else {
      options.files.emplace_back(word);
    }
  }
  return !options.files.empty() || usage_error("no file given");
}

std::optional<Test> load(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file || std::filesystem::is_directory(path)) {
    std::fprintf(stderr, "%s: cannot be read\n", path.c_str());
    return {};
  }
  std::ostringstream text;
  text << file.rdbuf();
  ParseError error;
  auto test = parse(text.str(), error);
  if (!test) std::fprintf(stderr, "%s:%u: %s\n", path.c_str(), error.line, error.what.c_str());
  return test;
}

void run_file(const std::string& path, const Options& options, Summary& summary) {
  const auto test = load(path);
  std::string error;
  const auto expected = test ? expectations(*test, error) : std::nullopt;
  if (!expected) {
    if (test) std::fprintf(stderr, "%s: %s\n", path.c_str(), error.c_str());
    ++summary.wrong;
    return;
  }
  std::vector<Memory> memories = options.memories;
  if (memories.empty()) {
    for (const Expectation& one : *expected) memories.push_back(one.memory);
  }
  if (memories.empty()) {
    for (const MemoryName& one : kMemories) memories.push_back(one.memory);
  }
  for (const Memory memory : memories) {
    ++summary.runs;
    const Result result = run(*test, memory, options.run);
    if (!result.problem.empty()) {
      std::fprintf(stderr, "%s: memory %s: %s\n", path.c_str(), name_of(memory).data(),
                   result.problem.c_str());
      ++summary.wrong;
      continue;
    }
    std::fputs(print(*test, result).c_str(), stdout);
    if (!result.explored.complete) ++summary.wrong;
    for (const Expectation& one : *expected) {
      if (one.memory != memory) continue;
      const bool good = one.observation == result.observation();
      if (!good) ++summary.unexpected;
      std::printf("Expected %s: %s\n", name_of(one.observation).data(), good ? "yes" : "NO");
    }
    std::printf("\n");
  }
}

}  // namespace

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--help") == 0) {
      std::fputs(kHelp, stdout);
      return kOk;
    }
  }
  Options options;
  if (!parse_options(argc, argv, options)) return kWrong;
  // Under `bazel run` the files are named from where the user stands.
  if (const char* folder = std::getenv("BUILD_WORKING_DIRECTORY")) {
    std::error_code ignored;
    std::filesystem::current_path(folder, ignored);
  }
  Summary summary;
  for (const std::string& path : options.files) run_file(path, options, summary);
  if (options.files.size() > 1) {
    std::printf("%zu tests, %u runs: %u not as expected, %u without a result\n",
                options.files.size(), summary.runs, summary.unexpected, summary.wrong);
  }
  if (summary.wrong != 0) return kWrong;
  return summary.unexpected != 0 ? kUnexpected : kOk;
}
