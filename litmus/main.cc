// Runs litmus tests from files on the modelled machine.
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hal/host/command_line.h"
#include "litmus/parse.h"
#include "litmus/run.h"
#include "litmus/text.h"

namespace {

using namespace shootdown::host;
using namespace shootdown::host::litmus;

constexpr int kOk = 0;
constexpr int kUnexpected = 1;
constexpr int kWrong = 2;

constexpr const char* kHelp =
#include "litmus/help.inc"
    ;

constexpr std::uint64_t kUsualLimit = 5'000'000;
constexpr std::uint64_t kMostUnroll = 1000;

struct Options {
  std::vector<Memory> memories;  // empty: as the test says
  RunOptions run{.most_executions = kUsualLimit};
  std::chrono::seconds progress{5};
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
  if (shootdown::host::parse_number(word, 0, ~std::uint64_t{0}, number)) return true;
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
      options.run.most_executions = limit != 0 ? limit : RunOptions().most_executions;
    } else if (word == "--unroll") {
      std::uint64_t repeats = 0;
      if (!parse_number("--unroll", value(), repeats)) return false;
      if (repeats > kMostUnroll) return usage_error("--unroll is 0 to 1000");
      options.run.most_repeats = static_cast<unsigned>(repeats);
    } else if (word == "--progress") {
      std::uint64_t seconds = 0;
      if (!parse_number("--progress", value(), seconds)) return false;
      options.progress = std::chrono::seconds(std::min<std::uint64_t>(seconds, 86400));
    } else if (word.starts_with("-") && word != "-") {
      return usage_error("unknown option " + std::string(word));
    } else {
      options.files.emplace_back(word);
    }
  }
  return !options.files.empty() || usage_error("no file given");
}

/// Adds the tests in a folder, by name. False after telling that there are none.
bool list_folder(const std::string& path, std::vector<std::string>& files) {
  namespace fs = std::filesystem;
  std::error_code error;
  std::vector<std::string> found;
  fs::recursive_directory_iterator each(path, error);
  for (; !error && each != fs::recursive_directory_iterator(); each.increment(error)) {
    if (each->path().extension() == ".litmus") found.push_back(each->path().string());
  }
  if (error) {
    std::fprintf(stderr, "%s: cannot be read: %s\n", path.c_str(), error.message().c_str());
    return false;
  }
  if (found.empty()) {
    std::fprintf(stderr, "%s: there is no file *.litmus in it\n", path.c_str());
    return false;
  }
  std::sort(found.begin(), found.end());
  files.insert(files.end(), found.begin(), found.end());
  return true;
}

bool list_files(const std::string& path, std::vector<std::string>& files, unsigned depth = 0);

/// Adds what herd's list names, a file or another list in a line, from where the list is.
bool list_names(const std::string& path, std::vector<std::string>& files, unsigned depth) {
  constexpr unsigned kDeepest = 16;
  std::ifstream in(path);
  if (!in || depth > kDeepest) {
    std::fprintf(stderr, "%s: %s\n", path.c_str(),
                 in ? "lists name each other, or more than 16 deep" : "cannot be read");
    return false;
  }
  bool good = true;
  for (std::string line; std::getline(in, line);) {
    const Piece name = Piece{.text = line}.trimmed();
    if (name.empty() || name.text.starts_with("#")) continue;
    const auto here = std::filesystem::path(path).parent_path() / name.text;
    good = list_files(here.string(), files, depth + 1) && good;
  }
  return good;
}

/// Adds the path itself, or what a folder or a list stands for.
bool list_files(const std::string& path, std::vector<std::string>& files, unsigned depth) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) return list_folder(path, files);
  const std::string name = std::filesystem::path(path).filename().string();
  if (name.starts_with("@")) return list_names(path, files, depth);
  files.push_back(path);
  return true;
}

/// The content, but no more than shows that it is too much.
bool read(const std::string& path, std::string& text) {
  std::FILE* const file = std::fopen(path.c_str(), "rb");
  if (file != nullptr) {
    text.resize(kMostFileBytes + 1);
    text.resize(std::fread(text.data(), 1, text.size(), file));
  }
  const bool good = file != nullptr && std::ferror(file) == 0;
  if (!good) {
    std::fprintf(stderr, "%s: cannot be read: %s\n", path.c_str(), reason_of(errno).c_str());
  }
  if (file != nullptr) std::fclose(file);
  return good;
}

std::optional<Test> load(const std::string& path) {
  std::string text;
  if (!read(path, text)) return {};
  ParseError error;
  auto test = parse(text, error);
  if (!test) {
    std::fprintf(stderr, "%s:%u:%u: %s\n", path.c_str(), error.line, error.column,
                 error.what.c_str());
    return {};
  }
  for (const Warning& warning : test->warnings) {
    std::fprintf(stderr, "%s:%u:%u: warning: %s\n", path.c_str(), warning.line, warning.column,
                 warning.what.c_str());
  }
  return test;
}

/// Says now and then on stderr that a long exploration goes on.
class Progress {
 public:
  Progress(const std::string& path, Memory memory, std::chrono::seconds interval)
      : path_(path), memory_(memory), interval_(interval), next_(Clock::now() + interval) {}

  void operator()(std::uint64_t runs) {
    if (Clock::now() < next_) return;
    next_ = Clock::now() + interval_;
    std::fprintf(stderr, "%s: memory %s: %" PRIu64 " executions so far\n", path_.c_str(),
                 std::string(name_of(memory_)).c_str(), runs);
  }

 private:
  using Clock = std::chrono::steady_clock;
  std::string path_;
  Memory memory_;
  std::chrono::seconds interval_;
  Clock::time_point next_;
};

/// Why a test has no result. True if it has one.
bool tell_problem(const std::string& path, const Result& result, const RunOptions& options) {
  std::string where = path;
  if (result.line != 0) {
    where += ":" + std::to_string(result.line) + ":" + std::to_string(result.column);
  }
  where += std::string(": memory ").append(name_of(result.memory));
  if (!result.problem.empty()) {
    std::fprintf(stderr, "%s: %s\n", where.c_str(), result.problem.c_str());
    return false;
  }
  if (result.explored.complete) return true;
  std::fprintf(stderr, "%s: stopped after %" PRIu64 " executions; --limit allows more\n",
               where.c_str(), options.most_executions);
  return false;
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
  if (memories.empty() && test->is_c()) memories.push_back(Memory::compiler_reordering);
  if (memories.empty()) {
    for (const MemoryName& one : kMemories) memories.push_back(one.memory);
  }
  for (const Memory memory : memories) {
    ++summary.runs;
    RunOptions how = options.run;
    how.progress = Progress(path, memory, options.progress);
    const Result result = run(*test, memory, how);
    const bool complete = tell_problem(path, result, options.run);
    if (!complete) ++summary.wrong;
    if (!result.problem.empty()) continue;
    std::fputs(print(*test, result).c_str(), stdout);
    if (!complete) {
      std::printf("\n");
      continue;
    }
    for (const Expectation& one : *expected) {
      if (one.memory != memory) continue;
      const bool good = one.observation == result.observation();
      if (!good) ++summary.unexpected;
      std::printf("Expected %s: %s\n", std::string(name_of(one.observation)).c_str(),
                  good ? "yes" : "NO");
    }
    std::printf("\n");
  }
}

}  // namespace

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--help") == 0) {
      std::fputs(kHelp, stdout);
      return finish("litmus", kOk);
    }
  }
  Options options;
  if (!parse_options(argc, argv, options)) return kWrong;
  go_where_the_user_stands();
  Summary summary;
  std::vector<std::string> files;
  for (const std::string& path : options.files) {
    if (!list_files(path, files)) ++summary.wrong;
  }
  for (const std::string& path : files) run_file(path, options, summary);
  if (files.size() > 1) {
    std::printf("%zu tests, %u runs: %u not as expected, %u without a result\n", files.size(),
                summary.runs, summary.unexpected, summary.wrong);
  }
  if (summary.wrong != 0) return finish("litmus", kWrong);
  return finish("litmus", summary.unexpected != 0 ? kUnexpected : kOk);
}
