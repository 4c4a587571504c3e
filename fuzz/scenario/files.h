// Scenario files: bytes or text, read with clear errors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/scenario/scenario.h"

namespace shootdown::fuzz {

/// A byte scenario is a few hundred bytes. Larger files are not scenarios.
inline constexpr std::size_t kMaxFileBytes = std::size_t{1} << 20;

/// The name that stands for standard input, which may be a pipe.
inline constexpr std::string_view kStandardInput = "-";

/// Whether a file may be bytes without a mark, as fuzzers keep them in their corpora. Any file is.
enum class Unmarked : std::uint8_t { refused, taken };

/// What a file held beside its scenario.
struct Source {
  bool is_text{false};
  std::vector<unsigned> deviation_lines;  // of text: where each deviation stands
};

/// Reads `path`: as text if it begins like text, comments aside, and as bytes if it has their mark
/// or may do without. Returns false and fills `error` with the file, the cause and the fix.
[[nodiscard]] bool load(const std::string& path, Unmarked unmarked, Scenario& scenario,
                        Source& source, std::string& error);

/// Reads `path`, which must be text, as it is.
[[nodiscard]] bool load_text(const std::string& path, std::string& text, std::string& error);

/// Whether `save` could write this file now, without leaving anything. For programs that work for
/// long before they write.
[[nodiscard]] bool can_save(const std::string& path, std::string& error);

/// Writes the whole file, or fails with `error` and leaves what was there before.
[[nodiscard]] bool save(const std::string& path, std::string_view content, std::string& error);

/// Writes the scenario: as text if the name ends in .txt, else as bytes with their mark.
[[nodiscard]] bool save(const std::string& path, const Scenario& scenario, std::string& error);

}  // namespace shootdown::fuzz
