// What every command-line program does in the same way: numbers, folders, the exit status.
#pragma once

#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <system_error>

namespace shootdown::host {

/// The exit status of a program that could not do its work.
inline constexpr int kCouldNot = 2;

/// What an error number says.
[[nodiscard]] inline std::string reason_of(int error) {
  return std::generic_category().message(error);
}

/// Decimal digits only, from `least` to `most`: strtoull would take a sign and make a large number
/// of it, and cut what does not fit. `text` may be null. Leaves `number` alone if it fails.
[[nodiscard]] inline bool parse_number(const char* text, std::uint64_t least, std::uint64_t most,
                                       std::uint64_t& number) {
  if (text == nullptr) return false;
  std::uint64_t value = 0;
  const char* const end = text + std::strlen(text);
  const auto result = std::from_chars(text, end, value);
  if (result.ec != std::errc() || result.ptr != end || value < least || value > most) return false;
  number = value;
  return true;
}

/// "from 1 to 8"
[[nodiscard]] inline std::string describe_range(std::uint64_t least, std::uint64_t most) {
  return "from " + std::to_string(least) + " to " + std::to_string(most);
}

/// Under `bazel run` the user stands elsewhere: paths are meant from there.
inline void go_where_the_user_stands() {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): a program begins with one thread.
  const char* const folder = std::getenv("BUILD_WORKING_DIRECTORY");
  if (folder != nullptr && chdir(folder) != 0) {
    std::fprintf(stderr, "note: %s: %s; paths are from the current folder\n", folder,
                 reason_of(errno).c_str());
  }
}

/// The text as one word of a shell's command line.
[[nodiscard]] inline std::string shell_quoted(std::string_view text) {
  constexpr std::string_view kPlain =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_@%+=:,./-";
  if (!text.empty() && text.find_first_not_of(kPlain) == text.npos) return std::string(text);
  std::string quoted = "'";
  for (const char character : text) {
    if (character == '\'') {
      quoted += "'\\''";
    } else {
      quoted += character;
    }
  }
  return quoted + "'";
}

/// Whether all that was printed so far has arrived where standard output goes. Says so if not.
[[nodiscard]] inline bool printed(const char* program) {
  errno = 0;
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return true;
  // An earlier write may have failed, and its reason is gone.
  const std::string why = errno != 0 ? ": " + reason_of(errno) : "";
  std::fprintf(stderr, "%s: the output cannot be written%s\n", program, why.c_str());
  return false;
}

/// The exit status of a program that ends with `status`: output that could not be written
/// was not told.
[[nodiscard]] inline int finish(const char* program, int status) {
  return printed(program) ? status : kCouldNot;
}

}  // namespace shootdown::host
