// The oracles by their numbers in the catalogue of invariants, and what each one says. The table in
// fuzz/README.md is compared with this one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "hal/host/report.h"

namespace shootdown::fuzz {

/// `order` is about the C++ memory model. Numbers begin at 1, so `kCount` is one more than there
/// are.
enum class Oracle : std::uint8_t {
  o1 = 1,
  o2,
  o3,
  o4,
  o5,
  o6,
  o7,
  o8,
  o9,
  o10,
  o11,
  o12,
  o13,
  o14,
  o15,
  o16,
  o17,
  o18,
  o19,
  o20,
  o21,
  o22,
  o23,
  o24,
  o25,
  o26,
  o27,
  o28,
  o29,
  o30,
  o31,
  o32,
  o33,
  o34,
  o35,
  o36,
  order,
  kCount,
};

struct CatalogueEntry {
  host::ReportKind kind;   // its name, and what it promises with the design rule that it guards
  std::string_view fires;  // when; empty: no run tells, comparisons do
};

inline constexpr std::size_t kOracles = static_cast<std::size_t>(Oracle::kCount) - 1;

/// In the order of Oracle.
extern const std::array<CatalogueEntry, kOracles> kCatalogue;

inline const CatalogueEntry& entry_of(Oracle oracle) {
  return kCatalogue[static_cast<std::size_t>(oracle) - 1];
}
inline const host::ReportKind* kind_of(Oracle oracle) { return &entry_of(oracle).kind; }

/// The kind of report that people call so, the machine's own included, or null.
[[nodiscard]] const host::ReportKind* kind_named(std::string_view name);

}  // namespace shootdown::fuzz
