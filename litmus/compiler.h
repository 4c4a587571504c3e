// What a compiler may make of a column, if each access in it were one of C++: every order of its
// instructions that keeps what the C++ model and the column's dependencies ask for.
//
// Jumps are gone in these orders. Each is for one path through the column, and checks on its way
// that the path is the right one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "litmus/test.h"

namespace shootdown::host::litmus {

using Code = std::vector<Instruction>;

struct Compiled {
  /// Such that every other order that is allowed does, on x86-64, nothing that none of these does.
  std::vector<Code> orders;
  std::string problem;  // not empty: there are none, and why
};

struct CompilerOptions {
  unsigned most_repeats{4};  // how often a CPU jumps back at most
  /// Off: no store comes before a load that the program has before it. That is what the modelled
  /// machine can do under Memory::cxx.
  bool load_buffering{true};
};

[[nodiscard]] Compiled compile(const Test& test, const Column& column,
                               const CompilerOptions& options);

// ---- Its parts.

enum class OperationKind : std::uint8_t { compute, branch, load, store, modify, barrier };

/// An instruction that does one thing, on registers that are written once.
struct Operation {
  Instruction made;
  OperationKind kind{OperationKind::compute};
  std::optional<std::uint64_t> address{};  // of the access, if it is known before the program runs
  std::vector<std::size_t> needs{};        // those whose results it uses
};

/// Every path through a column, without jumps. A jump back is a compiler barrier.
[[nodiscard]] bool find_paths(const Column& column, unsigned most_repeats,
                              std::vector<Code>& paths);

/// A path as operations, in program order, and what brings the results to where the test looks for
/// them afterwards.
struct Lowered {
  std::vector<Operation> operations;
  Code epilogue;
  std::string problem;
};
[[nodiscard]] Lowered lower(const Test& test, const Column& column, const Code& path);

/// Adds the orders of one path. False if there are too many.
[[nodiscard]] bool add_orders(const Lowered& lowered, bool load_buffering,
                              std::vector<Code>& orders);

}  // namespace shootdown::host::litmus
