#include "kernel-glue/kernel/command_line.h"

#include <array>
#include <cstddef>
#include <cstdint>

#include "kernel-glue/kernel/memory.h"
#include "kernel-glue/kernel/stop.h"

namespace shootdown::kernel {
namespace {

/// The start of the Multiboot 1 information structure.
struct MultibootInformation {
  std::uint32_t flags;
  std::uint32_t memory[2];
  std::uint32_t boot_device;
  std::uint32_t command_line;
};
constexpr std::uint32_t kHasCommandLine = 1U << 2;

bool is_separator(char c) { return c == ' ' || c == '\0'; }

/// Does the text begin with the whole word?
bool begins_with_word(const char* text, const char* word) {
  for (; *word != '\0'; ++text, ++word) {
    if (*text != *word) return false;
  }
  return is_separator(*text);
}

/// The number behind `word`'s prefix, which begins the text; false if it is not one.
bool read_number(const char* text, const char* prefix, std::uint32_t& number) {
  for (; *prefix != '\0'; ++text, ++prefix) {
    if (*text != *prefix) return false;
  }
  if (is_separator(*text)) return false;
  std::uint32_t value = 0;
  for (; !is_separator(*text); ++text) {
    if (*text < '0' || *text > '9' || value > 10'000'000) return false;
    value = value * 10 + static_cast<std::uint32_t>(*text - '0');
  }
  number = value;
  return true;
}

/// Where what stands behind the prefix begins; false if the text begins with something else.
bool read_title(const char* text, const char* prefix, const char*& title) {
  for (; *prefix != '\0'; ++text, ++prefix) {
    if (*text != *prefix) return false;
  }
  title = text;
  return true;
}

/// A word and what it does.
struct Word {
  const char* text;
  void (*apply)(Options& options);
};

constexpr auto kWords = std::to_array<Word>({
    {"bench", [](Options& o) { o.bench = true; }},
    {"list", [](Options& o) { o.tests.list = true; }},
    {"serial-flush", [](Options& o) { o.serial_flush = true; }},
    {"break=no-ipi", [](Options& o) { o.broken = Break::ipi; }},
    {"break=no-kernel-flush", [](Options& o) { o.broken = Break::kernel_flush; }},
    {"break=wrong-key", [](Options& o) { o.broken = Break::key; }},
    {"break=stack-overflow", [](Options& o) { o.broken = Break::stack; }},
    {"break=wrong-gs", [](Options& o) { o.broken = Break::gs; }},
    {"break=fatal-report", [](Options& o) { o.broken = Break::report; }},
    {"break=early-wake", [](Options& o) { o.broken = Break::wake; }},
    {"pti=on", [](Options& o) { o.config.isolation.enabled = true; }},
    {"pti=off", [](Options& o) { o.config.isolation.enabled = false; }},
    {"defer=on", [](Options& o) { o.config.isolation.defer_user_pages = true; }},
    {"early=on", [](Options& o) { o.config.targets.early_acknowledgement = true; }},
    {"masks=kept", [](Options& o) { o.config.targets.mask_policy = MaskPolicy::kept_lazily; }},
    {"lazy=up-front", [](Options& o) { o.config.targets.lazy_test = LazyTest::up_front; }},
    {"targets=loaded", [](Options& o) { o.config.targets.target_test = TargetTest::by_loaded_mm; }},
});

/// False if the word is none of them.
bool apply_word(Options& options, const char* text) {
  for (const Word& word : kWords) {
    if (!begins_with_word(text, word.text)) continue;
    word.apply(options);
    return true;
  }
  return read_number(text, "ceiling=", options.config.limits.ceiling_strides) ||
         read_number(text, "races=", options.races.milliseconds) ||
         read_number(text, "stress=", options.stress) ||
         read_title(text, "test=", options.tests.only) ||
         read_title(text, "scenario=", options.scenario) ||
         read_number(text, "seed=", options.races.seed);
}

/// A boot loader may put the image's name first. A mistyped option is none.
bool may_be_a_name(const char* text) {
  while (!is_separator(*text) && *text != '=') ++text;
  return *text != '=';
}

}  // namespace

Options read_command_line(PhysAddr multiboot_information) {
  Options options;
  const auto* information = direct_map<const MultibootInformation>(multiboot_information);
  if ((information->flags & kHasCommandLine) == 0) return options;
  const char* text = direct_map<const char>(information->command_line);
  bool first = true;
  while (*text != '\0') {
    if (is_separator(*text)) {
      ++text;
      continue;
    }
    if (!apply_word(options, text) && !(first && may_be_a_name(text))) {
      fatal("unknown word on the kernel command line: ", text);
    }
    first = false;
    while (!is_separator(*text)) ++text;
  }
  return options;
}

}  // namespace shootdown::kernel
