// What each kind of operation and deviation is called and which fields it uses. The codec, the text
// form and the mutators all read these tables, so a new kind is one line here.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

#include "fuzz/scenario.h"

namespace shootdown::fuzz {

inline constexpr unsigned kOpKinds = static_cast<unsigned>(OpKind::kCount);
inline constexpr unsigned kDeviationKinds = static_cast<unsigned>(DeviationKind::kCount);

struct OpShape {
  std::string_view name;
  bool uses_mm;
  bool uses_page;
  bool uses_count;
};

/// In the order of OpKind.
inline constexpr std::array<OpShape, kOpKinds> kOpShapes{{
    {"switch_to", true, false, false},
    {"idle", false, false, false},
    {"resume", false, false, false},
    {"leave", false, false, false},
    {"read", false, true, false},
    {"write", false, true, false},
    {"map", true, true, true},
    {"unmap", true, true, true},
    {"protect", true, true, true},
    {"unprotect", true, true, true},
    {"replace", true, true, false},
    {"free_table", true, true, false},
    {"flush_mm", true, false, false},
    {"exit", true, false, false},
}};

/// `arg` is 0 .. arg_count - 1. People see `arg + arg_first`, under the name `arg_name`.
struct DeviationShape {
  std::string_view name;
  std::string_view arg_name;
  unsigned arg_first;
  unsigned arg_count;
};

/// In the order of DeviationKind.
inline constexpr std::array<DeviationShape, kDeviationKinds> kDeviationShapes{{
    {"preempt", "", 0, 1},
    {"hold", "steps", 1, 256},
    {"fill", "page", 0, kPages},
    {"evict", "entry", 0, 256},
}};

/// Precondition: `kind` is one of the named ones.
constexpr const OpShape& shape(OpKind kind) { return kOpShapes[static_cast<std::size_t>(kind)]; }
constexpr const DeviationShape& shape(DeviationKind kind) {
  return kDeviationShapes[static_cast<std::size_t>(kind)];
}

/// The most pages that a range from `page` on can have without leaving the small or large pages.
constexpr unsigned max_count(unsigned page) {
  return page < kSmallPages ? kSmallPages - page : kPages - page;
}

}  // namespace shootdown::fuzz
