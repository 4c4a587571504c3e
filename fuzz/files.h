// Scenario files: bytes or text, read with clear errors.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "fuzz/scenario.h"

namespace shootdown::fuzz {

/// A byte scenario is a few hundred bytes. Larger files are not scenarios.
inline constexpr std::size_t kMaxFileBytes = std::size_t{1} << 20;

/// Reads `path`: the text form if it begins like one, comments aside, and the byte form otherwise.
/// Returns false and fills `error` with the file, the cause and the fix.
[[nodiscard]] bool load(const std::string& path, Scenario& scenario, std::string& error);

/// Reads `path` as it is.
[[nodiscard]] bool load_text(const std::string& path, std::string& text, std::string& error);

/// Writes the whole file or fails with `error`.
[[nodiscard]] bool save(const std::string& path, std::string_view content, std::string& error);

}  // namespace shootdown::fuzz
