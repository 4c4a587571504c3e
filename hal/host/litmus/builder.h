// A test under construction: names become locations, entries and registers.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hal/host/litmus/test.h"
#include "hal/host/litmus/text.h"

namespace shootdown::host::litmus {

/// A register of x86 by any of its names, upper or lower case, with or without '%'.
[[nodiscard]] std::optional<Register> find_register(std::string_view name);

class Builder {
 public:
  /// The location of that name; made if there is none. `t[1]` is a location like any other.
  std::size_t location(std::string_view name);
  /// `name` may hold an index: "t[1]".
  std::size_t location(Piece name);
  [[nodiscard]] std::optional<std::size_t> find_location(std::string_view name) const;
  /// A stack slot of one CPU.
  std::size_t stack_slot(std::uint32_t column, std::int64_t displacement);

  /// Whether the text is `PTE(...)` or `PDE(...)`, perhaps with `.field`.
  static bool is_entry(std::string_view text);
  /// `PTE(x)`, `PTE(x,2)`, `PDE(x,t)`. Makes the entry if there is none.
  std::size_t entry(Piece text);
  /// `(a, present, writable)`: a location's address and bits.
  std::uint64_t entry_value(Piece text);

  /// A number, or the address of a location: "x", "&x".
  std::int64_t value(Piece text);
  /// A number only.
  static std::int64_t constant(Piece text);
  /// "0" or "P0".
  static std::uint32_t cpu(Piece text);
  /// Whether the line "Far=" lists the name.
  [[nodiscard]] bool is_far(std::string_view name) const;

  // Each parses its part of the file into `test`. They throw SyntaxError.
  void initial_state(Piece block);
  void program(Piece table);
  void final_part(Piece text);

  /// Widths, jump targets, and what must not be mixed or too much. After all parts are there;
  /// `line` is where the program begins.
  void finish(unsigned line);

  Test test;

 private:
  void initial_item(Piece item);
  void initial_register(Piece cpu_name, Piece name, Piece right);
  void initial_array(Piece name, Piece values, std::uint8_t width);
  void header(const std::vector<Piece>& cells);
  void cell(std::size_t column, Piece text);
  void instruction(std::size_t column, Piece text);
  void operands(std::size_t column, Instruction& made, Piece text);
  Operand operand(std::size_t column, Piece text);
  Operand memory(std::size_t column, Piece text);
  Operand at_and_t_memory(std::size_t column, Piece text);
  void add_sum(Operand& made, Piece sum);
  void add_to_address(Operand& made, Piece part, bool negative);
  void finish_memory(std::size_t column, Operand& made, Piece text);
  void special(std::size_t column, Instruction& made, Piece text);
  void check_shape(const Instruction& made, Piece text) const;
  /// `suffix`: that of MOV.acq and the like; empty without one.
  void memory_order(Instruction& made, const std::string& suffix, Piece text) const;
  void widths();
  void check_places() const;
  void check_size(unsigned line) const;
  void jumps();

  Piece locations_list(Piece rest);
  std::size_t term(Piece text);
  Term make_term(Piece text);
  std::size_t intern(const Term& term);

  friend class ConditionParser;

  std::map<std::string, std::size_t, std::less<>> location_by_name_;
  std::uint64_t next_address_{kFirstAddress};
  std::uint64_t next_far_address_{kFirstFarAddress};
  std::vector<std::map<std::string, std::size_t>> labels_;         // by column
  std::vector<std::map<std::size_t, std::string>> wanted_labels_;  // instruction to label
};

}  // namespace shootdown::host::litmus
