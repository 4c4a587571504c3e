// Explores proofs and prints what each run guarantees.
#include <algorithm>
#include <cinttypes>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/oracles/reports/catalogue.h"
#include "fuzz/run/proof.h"
#include "fuzz/run/trace_report.h"
#include "hal/host/command_line.h"

namespace {

using namespace shootdown::fuzz;

constexpr int kProved = 0;
constexpr int kBroken = 1;
constexpr int kUsage = shootdown::host::kCouldNot;

constexpr const char* kHelp =
    "usage: explore [OPTION]... FILE...\n"
    "Explores scenarios exhaustively: every interleaving that can make a difference.\n"
    "A comment line, such as '# explore: setup=1 fill=3 fill=3:2', in each file says how:\n"
    "\n"
    "  setup=N            the first N operations of each CPU come before, undisturbed\n"
    "  fill=PAGE[:LEVEL]  a speculative walk of each CPU, to the entry of that level (default 1)\n"
    "  evict=PAGE         each CPU drops the page's translation, and the pointers on the way\n"
    "  nmi=PAGE           an NMI on each CPU whose handler reads the page (config nmi=1)\n"
    "  device=PAGE[:LEVEL]  a walk of the device in mm 0 (config device=1)\n"
    "  lose=N, duplicate=N  interrupts to each CPU (config faults=1)\n"
    "  migrate=N          exchanges of the threads of two CPUs\n"
    "  own=1              interrupts and NMIs also before accesses to a CPU's own words\n"
    "  preemptions=N      of each virtual CPU (config backend=kvm)\n"
    "  deviations=N       a bound, as below\n"
    "\n"
    "Options:\n"
    "\n"
    "  --sc, --tso, --cxx\n"
    "                   this memory model instead of the one that the file names; cxx only with a\n"
    "                   bound of deviations\n"
    "  --deviations N   all runs that differ at most N times from the default schedule, instead "
    "of\n"
    "                   all interleavings\n"
    "  --executions N   stop, without a guarantee, after N executions\n"
    "  --samples N      how many random runs check that nothing was left out (default 1000)\n"
    "  --expect ORACLE  the exploration must find this, such as O1; exit status 0 if it does\n"
    "  --help           this text\n"
    "\n"
    "Paths are relative to where you stand; bazel run //fuzz:explore knows the project's own "
    "proofs.\n"
    "\n"
    "exit status: 0 explored and clean, 1 an oracle fired or no guarantee, 2 bad usage or file, or "
    "standard\n"
    "output that cannot be written\n";

struct Options {
  std::vector<std::string> files;
  std::string expect;
  ProofOptions prove;
  bool sc{false};
  bool tso{false};
  bool compiler_reordering{false};
  unsigned deviations{shootdown::host::kUnbounded};
};

bool usage_error(const std::string& what) {
  std::fprintf(stderr, "explore: %s; --help tells more\n", what.c_str());
  return false;
}

bool parse_count(const std::string& name, const char* text, std::uint64_t most,
                 std::uint64_t& number) {
  if (shootdown::host::parse_number(text, 0, most, number)) return true;
  return usage_error(name + " needs a number " + shootdown::host::describe_range(0, most));
}

bool parse_count(const std::string& name, const char* text, unsigned& number) {
  // The largest one stands for no bound.
  std::uint64_t wide = 0;
  if (!parse_count(name, text, shootdown::host::kUnbounded - 1, wide)) return false;
  number = static_cast<unsigned>(wide);
  return true;
}

bool parse_oracle(const char* text, std::string& oracle) {
  if (text == nullptr || shootdown::fuzz::kind_named(text) == nullptr) {
    return usage_error("--expect needs the name of an oracle, such as O1, CHECK, FAULT or ORDER");
  }
  oracle = text;
  return true;
}

/// Returns false after telling what is wrong.
bool parse_options(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    const auto value = [&]() -> const char* { return i + 1 < argc ? argv[++i] : nullptr; };
    if (word == "--sc") {
      options.sc = true;
    } else if (word == "--tso") {
      options.tso = true;
    } else if (word == "--cxx") {
      options.compiler_reordering = true;
    } else if (word == "--expect") {
      if (!parse_oracle(value(), options.expect)) return false;
    } else if (word == "--deviations") {
      if (!parse_count(argv[i], value(), options.deviations)) return false;
    } else if (word == "--executions") {
      const std::uint64_t most = ~std::uint64_t{0};
      if (!parse_count(argv[i], value(), most, options.prove.most_executions)) return false;
    } else if (word == "--samples") {
      if (!parse_count(argv[i], value(), options.prove.samples)) return false;
    } else if (word.starts_with("-")) {
      return usage_error("unknown option " + std::string(word));
    } else {
      options.files.emplace_back(word);
    }
  }
  if (options.sc + options.tso + options.compiler_reordering > 1) {
    return usage_error("only one of --sc, --tso and --cxx");
  }
  return !options.files.empty() || usage_error("no file given");
}

const char* memory_of(const Header& header) {
  if (header.compiler_reordering) return "store buffers and a reordering compiler";
  return header.tso ? "store buffers" : "sequentially consistent memory";
}

std::string counted(std::size_t count, const char* what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
}

/// What else may happen at any moment, if there is any.
std::string others_of(const ControlledRun& run) {
  std::string text;
  const auto add = [&](std::size_t count, const char* what, const char* whose) {
    if (count != 0) text += ", " + counted(count, what) + whose;
  };
  add(run.evictions.size(), "page", " that each evicts");
  add(run.nmis.size(), "NMI", " on each");
  add(run.losses, "interrupt", " to each lost");
  add(run.duplicates, "interrupt", " to each that no CPU sends");
  add(run.preemptions, "preemption", " of each");
  add(run.migrations, "exchange", " of threads");
  if (run.own != 0) text += ", interrupts between own accesses";
  add(run.device_walks.size(), "walk", " of a device");
  return text;
}

void print_result(const std::string& file, const Proof& proof, const ProofResult& result) {
  const auto& explored = result.explored;
  const double runs = static_cast<double>(explored.executions + explored.redundant);
  const std::string name = file.substr(file.find_last_of('/') + 1);
  std::printf("%s: %s\n", name.c_str(), proof.title.c_str());
  std::printf("  %u CPUs, %s, %s of each CPU%s\n", proof.scenario.header.cpus,
              memory_of(proof.scenario.header),
              counted(proof.run.fills.size(), "speculative walk").c_str(),
              others_of(proof.run).c_str());
  std::printf("  guarantee: %s\n", result.guarantee.c_str());
  std::printf("  %" PRIu64 " executions, %" PRIu64 " given up as redundant, %" PRIu64
              " steps (longest run %" PRIu64 "), %" PRIu64 " outcomes, %.1f s\n",
              explored.executions, explored.redundant, explored.steps, explored.longest,
              result.outcomes, result.seconds);
  if (result.plain > 0) {
    std::printf(
        "  plain enumeration: about 1e%.0f interleavings (estimated), 1e%.0f times as many\n",
        std::log10(result.plain), std::max(0.0, std::log10(result.plain / runs)));
  }
}

/// 0 or 1, after printing.
int judge(Runner& runner, const Options& options, const std::string& file, const Proof& proof,
          const ProofResult& result) {
  print_result(file, proof, result);
  if (result.explored.failed) {
    const std::string found = title(runner.report());
    std::printf("  FOUND %s\n", found.c_str());
    if (!options.expect.empty() && found.starts_with(options.expect + " ")) return kProved;
    std::printf("\n%s", tell(runner, proof, result.explored.schedule).c_str());
    return kBroken;
  }
  if (result.samples_missing != 0) {
    std::printf("  UNSOUND: %u of %u random runs ended in a way that was not explored\n",
                result.samples_missing, options.prove.samples);
    return kBroken;
  }
  if (!result.explored.complete || !options.expect.empty()) {
    std::printf("  %s\n", options.expect.empty() ? "NOT PROVED" : "NOT FOUND");
    return kBroken;
  }
  std::printf("  proved: no oracle fires\n");
  return kProved;
}

/// Reads a proof, and changes it as the options say. Returns false after telling what is wrong.
bool read(const std::string& file, const Options& options, Proof& proof) {
  std::string error;
  if (!load_proof(file, proof, error)) {
    std::fprintf(stderr, "explore: %s\n", error.c_str());
    return false;
  }
  if (options.sc || options.tso || options.compiler_reordering) {
    proof.scenario.header.tso = options.tso;
    proof.scenario.header.compiler_reordering = options.compiler_reordering;
  }
  if (options.deviations != shootdown::host::kUnbounded) proof.deviations = options.deviations;
  if (const std::string why = why_not_explored(proof); !why.empty()) {
    std::fprintf(stderr, "explore: %s: %s\n", file.c_str(), why.c_str());
    return false;
  }
  return true;
}

/// Returns the exit status.
int explore(const Options& options) {
  // All of them first: an exploration may take an hour.
  std::vector<Proof> proofs(options.files.size());
  for (std::size_t i = 0; i < proofs.size(); ++i) {
    if (!read(options.files[i], options, proofs[i])) return kUsage;
  }
  static Runner runner;  // Too large for a stack.
  int status = kProved;
  for (std::size_t i = 0; i < proofs.size(); ++i) {
    const ProofResult result = prove(runner, proofs[i], options.prove);
    status = std::max(status, judge(runner, options, options.files[i], proofs[i], result));
    if (!shootdown::host::printed("explore")) return kUsage;
  }
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--help") == 0) {
      std::fputs(kHelp, stdout);
      return shootdown::host::finish("explore", kProved);
    }
  }
  Options options;
  if (!parse_options(argc, argv, options)) return kUsage;
  shootdown::host::go_where_the_user_stands();
  options.prove.progress = [](const shootdown::host::ExploreResult& result) {
    std::fprintf(stderr, "  %" PRIu64 " executions so far\n", result.executions);
  };
  return explore(options);
}
