// What a litmus test says of its final states.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace shootdown::host::litmus {

struct Test;

enum class TermKind : std::uint8_t { constant, reg, fault, gp, location, entry };

/// Part of a page-table entry, or of a register that holds one.
enum class Field : std::uint8_t {
  whole,
  frame,
  present,
  writable,
  accessed,
  dirty,
  large,
  global,
  user,
  nx,
};

/// What is observed when all CPUs are done.
struct Term {
  TermKind kind{TermKind::constant};
  Field field{Field::whole};
  std::uint32_t cpu{0};
  std::uint8_t number{0};  // of the register
  std::uint8_t width{8};   // bytes of it
  std::size_t index{0};    // of the location or entry
  std::string text;        // as the file has it
  friend bool operator==(const Term& a, const Term& b) {
    return a.kind == b.kind && a.field == b.field && a.cpu == b.cpu && a.number == b.number &&
           a.width == b.width && a.index == b.index;
  }
};

enum class Connective : std::uint8_t { truth, equal, unequal, negation, both, either, implies };

/// A formula as a tree. `truth` with no operands holds always.
struct Condition {
  Connective connective{Connective::truth};
  std::vector<Condition> operands{};
  std::size_t left{0};  // a term of the test
  bool right_is_term{false};
  std::size_t right{0};                   // a term
  std::int64_t value{0};                  // or a value
  std::uint64_t mask{~std::uint64_t{0}};  // of the bits that are compared
};

/// The terms' values in one final state, in the order of `Test::terms`.
using State = std::vector<std::int64_t>;

[[nodiscard]] bool holds(const Test& test, const Condition& condition, const State& state);

/// As herd prints it.
[[nodiscard]] std::string print(const Test& test, const Condition& condition);

/// A term's value: a number, the name of a location, or a page-table entry.
[[nodiscard]] std::string print_value(const Test& test, const Term& term, std::int64_t value);

}  // namespace shootdown::host::litmus
