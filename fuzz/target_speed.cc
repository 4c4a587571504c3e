// How fast the fuzz target is under the sanitizers that the engines run it with, without an engine:
// default scenarios, and what folders hold, such as a corpus. Processor time, so that a busy
// machine counts less.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "fuzz/scenario/generate.h"
#include "fuzz/scenario/scenario.h"
#include "hal/host/command_line.h"

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv);
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using Input = std::vector<std::uint8_t>;

constexpr std::uint64_t kScenarios = 500;

constexpr const char* kHelp =
    "usage: target_speed [--executions N] [FOLDER]...\n"
    "Measures executions a second of the fuzz target, as it is built for libFuzzer but without "
    "it,\n"
    "of processor time: of default scenarios (4 CPUs with 8 operations), and of each folder's "
    "files.\n"
    "\n"
    "  --executions N   of each of them, 20000 if not given\n"
    "  --help           this text\n"
    "\n"
    "exit status: 0 measured, 2 bad usage, or a folder that cannot be read or is empty\n";

std::vector<Input> default_scenarios() {
  std::vector<Input> inputs;
  static shootdown::fuzz::Scenario scenario;
  for (std::uint64_t i = 0; i < kScenarios; ++i) {
    shootdown::fuzz::generate(1 + i, {}, scenario);
    inputs.push_back(encode(scenario));
  }
  return inputs;
}

/// Empty if there is nothing to read, which is then said.
std::vector<Input> files_of(const std::string& folder) {
  std::vector<Input> inputs;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    std::ifstream file(entry.path(), std::ios::binary);
    if (!entry.is_regular_file() || !file) continue;
    inputs.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  if (inputs.empty()) {
    std::fprintf(stderr, "target_speed: %s: %s\n", folder.c_str(),
                 error ? error.message().c_str() : "no files in it");
  }
  return inputs;
}

double processor_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

void measure(const std::string& name, const std::vector<Input>& inputs, std::uint64_t executions) {
  const auto run = [&](std::uint64_t number) {
    const Input& input = inputs[number % inputs.size()];
    LLVMFuzzerTestOneInput(input.data(), input.size());
  };
  for (std::uint64_t i = 0; i < inputs.size() && i < executions; ++i) run(i);
  const double begin = processor_seconds();
  for (std::uint64_t i = 0; i < executions; ++i) run(i);
  const double each = (processor_seconds() - begin) / static_cast<double>(executions);
  std::printf("%s: %.0f executions a second, %.1f us each; %zu inputs\n", name.c_str(), 1 / each,
              each * 1e6, inputs.size());
}

}  // namespace

int main(int argc, char** argv) {
  constexpr int kCouldNot = shootdown::host::kCouldNot;
  shootdown::host::go_where_the_user_stands();
  std::uint64_t executions = 20000;
  std::vector<std::string> folders;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word == "--help") {
      std::fputs(kHelp, stdout);
      return shootdown::host::finish("target_speed", 0);
    }
    if (word == "--executions") {
      const char* const value = i + 1 < argc ? argv[++i] : nullptr;
      if (shootdown::host::parse_number(value, 1, 1'000'000'000, executions)) continue;
      std::fprintf(stderr, "target_speed: --executions needs a number %s\n",
                   shootdown::host::describe_range(1, 1'000'000'000).c_str());
      return kCouldNot;
    }
    if (word.starts_with("-")) {
      std::fprintf(stderr, "target_speed: unknown option %s; --help tells all\n", argv[i]);
      return kCouldNot;
    }
    folders.emplace_back(word);
  }
  LLVMFuzzerInitialize(&argc, &argv);
  measure("default scenarios", default_scenarios(), executions);
  for (const std::string& folder : folders) {
    const std::vector<Input> inputs = files_of(folder);
    if (inputs.empty()) return kCouldNot;
    measure(folder, inputs, executions);
  }
  return shootdown::host::finish("target_speed", 0);
}
