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
    if (*text < '0' || *text > '9' || value > 1'000'000) return false;
    value = value * 10 + static_cast<std::uint32_t>(*text - '0');
  }
  number = value;
  return true;
}

/// A word and what it does.
struct Word {
  const char* text;
  void (*apply)(Options& options);
};

constexpr auto kWords = std::to_array<Word>({
    {"bench", [](Options& o) { o.bench = true; }},
    {"serial-flush", [](Options& o) { o.serial_flush = true; }},
    {"break=no-ipi", [](Options& o) { o.broken = Break::ipi; }},
    {"break=no-kernel-flush", [](Options& o) { o.broken = Break::kernel_flush; }},
    {"break=wrong-key", [](Options& o) { o.broken = Break::key; }},
    {"pti=on", [](Options& o) { o.config.isolation.enabled = true; }},
    {"pti=off", [](Options& o) { o.config.isolation.enabled = false; }},
    {"defer=on", [](Options& o) { o.config.isolation.defer_user_pages = true; }},
    {"early=on", [](Options& o) { o.config.targets.early_acknowledgement = true; }},
    {"masks=kept", [](Options& o) { o.config.targets.mask_policy = MaskPolicy::kept_lazily; }},
    {"lazy=up-front", [](Options& o) { o.config.targets.lazy_test = LazyTest::up_front; }},
    {"targets=loaded", [](Options& o) { o.config.targets.target_test = TargetTest::by_loaded_mm; }},
});

void apply_word(Options& options, const char* text) {
  for (const Word& word : kWords) {
    if (begins_with_word(text, word.text)) return word.apply(options);
  }
  if (read_number(text, "ceiling=", options.config.limits.ceiling_strides)) return;
  // GRUB puts the image's path first.
  if (text[0] != '/') fatal("unknown word on the kernel command line: ", text);
}

}  // namespace

Options read_command_line(PhysAddr multiboot_information) {
  Options options;
  const auto* information = direct_map<const MultibootInformation>(multiboot_information);
  if ((information->flags & kHasCommandLine) == 0) return options;
  const char* text = direct_map<const char>(information->command_line);
  while (*text != '\0') {
    if (is_separator(*text)) {
      ++text;
      continue;
    }
    apply_word(options, text);
    while (!is_separator(*text)) ++text;
  }
  return options;
}

}  // namespace shootdown::kernel
