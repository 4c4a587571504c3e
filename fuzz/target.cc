// The fuzz target: bytes in, one run of the modelled machine, abort on a report.
//
// Both engines also see how CPUs met: the machine's interleaving features are counters of their own
// for libFuzzer, and guards of their own for AFL++. With SHOOTDOWN_TRACE in the environment each
// run also says how it went.
#include <cinttypes>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

#include "fuzz/run/runner.h"
#include "fuzz/scenario/mutator.h"
#include "fuzz/scenario/scenario.h"

namespace {

using shootdown::fuzz::Runner;
using shootdown::fuzz::Scenario;
using shootdown::host::FeatureSet;

#if defined(SHOOTDOWN_AFL)

extern "C" void __sanitizer_cov_trace_pc_guard_init(std::uint32_t* start, std::uint32_t* stop);
extern "C" void __sanitizer_cov_trace_pc_guard(std::uint32_t* guard);

std::uint32_t guards[FeatureSet::kFeatures];

// AFL++ sizes its map before main, so the guards must be known by then.
__attribute__((constructor)) void register_guards() {
  __sanitizer_cov_trace_pc_guard_init(guards, guards + FeatureSet::kFeatures);
}

void export_features(const FeatureSet& features) {
  features.for_each(
      [](std::uint16_t feature) { __sanitizer_cov_trace_pc_guard(&guards[feature]); });
}

#elif defined(SHOOTDOWN_LIBFUZZER)

// libFuzzer clears this section before each execution and reads it afterwards.
__attribute__((section("__libfuzzer_extra_counters"))) std::uint8_t counters[FeatureSet::kFeatures];

void export_features(const FeatureSet& features) {
  features.for_each([](std::uint16_t feature) { counters[feature] = 1; });
}

/// Puts options of our own in front of those of the command line, which win.
void set_defaults(int& argc, char**& argv) {
  // The entropic schedule keeps a list of rare features for each input: up to half of the time, and
  // mutants are not found in fewer executions.
  static char entropic[] = "-entropic=0";
  static std::vector<char*> all;
  all.assign(argv, argv + argc);
  all.insert(all.begin() + 1, entropic);
  argc = static_cast<int>(all.size());
  all.push_back(nullptr);
  argv = all.data();
}

#else

void export_features(const FeatureSet& /*features*/) {}

#endif

/// Tells how the run went, in a line that is the same on every build, with the input's own hash
/// because engines run inputs of their own as well.
void tell_trace(std::span<const std::uint8_t> input, const shootdown::host::Machine& machine) {
  std::uint64_t name = 0xcbf2'9ce4'8422'2325;  // FNV-1a
  for (const std::uint8_t byte : input) name = (name ^ byte) * 0x100'0000'01b3;
  std::fprintf(stderr, "SHOOTDOWN-TRACE: %016" PRIx64 " %016" PRIx64 " %" PRIu64 " %" PRIu64 "\n",
               name, machine.recorder().hash(), machine.step(), machine.interrupts().delivered());
}

Runner& runner() {
  // Never destroyed: simulated CPUs may be parked on their stacks when the process ends.
  static auto* instance = new Runner;
  return *instance;
}

}  // namespace

// One run before the first input, so that what happens only once does not look like an input's
// doing.
extern "C" int LLVMFuzzerInitialize([[maybe_unused]] int* argc, [[maybe_unused]] char*** argv) {
#if defined(SHOOTDOWN_LIBFUZZER)
  set_defaults(*argc, *argv);
#endif
  static Scenario nothing;
  shootdown::fuzz::decode({}, nothing);
  runner().run(nothing);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Scenario scenario;
  shootdown::fuzz::decode(std::span(data, size), scenario);
  const auto& report = runner().run(scenario);
  export_features(runner().machine().recorder().features());
  static const bool kTells = std::getenv("SHOOTDOWN_TRACE") != nullptr;
  if (kTells) tell_trace(std::span(data, size), runner().machine());
  if (!report.failed()) return 0;
  std::fprintf(stderr, "SHOOTDOWN-FAILURE: %s\n",
               (std::string(report.name()) + " " + report.title).c_str());
  std::abort();
}

#if defined(SHOOTDOWN_LIBFUZZER)

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t max_size, unsigned seed) {
  return shootdown::fuzz::mutate(std::span(data, max_size), size, seed, LLVMFuzzerMutate);
}

extern "C" std::size_t LLVMFuzzerCustomCrossOver(const std::uint8_t* first, std::size_t first_size,
                                                 const std::uint8_t* second,
                                                 std::size_t second_size, std::uint8_t* out,
                                                 std::size_t max_out_size, unsigned seed) {
  return shootdown::fuzz::cross_over(std::span(first, first_size), std::span(second, second_size),
                                     std::span(out, max_out_size), seed);
}

#endif
