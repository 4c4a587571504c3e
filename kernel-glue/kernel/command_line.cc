#include "kernel-glue/kernel/command_line.h"

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

void apply_word(Options& options, const char* word) {
  if (begins_with_word(word, "bench")) {
    options.bench = true;
  } else if (begins_with_word(word, "serial-flush")) {
    options.serial_flush = true;
  } else if (begins_with_word(word, "break=no-ipi")) {
    options.break_no_ipi = true;
  } else if (word[0] != '/') {  // GRUB puts the image's path first.
    fatal("unknown word on the kernel command line: ", word);
  }
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
