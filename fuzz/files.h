// Scenario files: bytes or text, read with clear errors.
#pragma once

#include <string>

#include "fuzz/scenario.h"

namespace shootdown::fuzz {

/// The first line of every text form.
inline constexpr std::string_view kTextMark = "shootdown-scenario";

/// A byte scenario is a few hundred bytes. Larger files are not scenarios.
inline constexpr std::size_t kMaxFileBytes = std::size_t{1} << 20;

/// Reads `path`, which holds the text form if it starts with its mark and the byte form otherwise.
/// Returns false and fills `error` with the file, the cause and the fix.
[[nodiscard]] bool load(const std::string& path, Scenario& scenario, std::string& error);

/// Writes the whole file or fails with `error`.
[[nodiscard]] bool save(const std::string& path, std::string_view content, std::string& error);

}  // namespace shootdown::fuzz
