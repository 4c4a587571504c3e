// A test under construction: names become locations, entries and registers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "litmus/test.h"
#include "litmus/text.h"

namespace shootdown::host::litmus {

/// A register of x86 by any of its names, upper or lower case, with or without '%'.
[[nodiscard]] std::optional<Register> find_register(std::string_view name);
/// Whether x86 has a register of that name, be it one that the runner does not know.
[[nodiscard]] bool is_register_name(std::string_view name);

/// Which part of the file is read. What each may name is in `Builder::location` and `known`.
enum class Part : std::uint8_t { initial, program, final };

class Builder {
 public:
  /// The location of that name; made if there is none, but not by the condition. `name` may hold
  /// an index: `t[1]` is a location like any other.
  std::size_t location(Piece name);
  /// The same, where nothing may be made: a typo would become a location that no instruction uses.
  std::size_t known(Piece name);
  [[nodiscard]] std::optional<std::size_t> find_location(std::string_view name) const;
  /// A stack slot of one CPU.
  std::size_t stack_slot(std::uint32_t column, std::int64_t displacement);

  /// Whether the text is `PTE(...)` or `PDE(...)`, perhaps with `.field`.
  static bool is_entry(std::string_view text);
  /// `PTE(x)`, `PTE(x,2)`, `PTE(x,t)`. Makes the entry if there is none, and in the initial state
  /// the page.
  std::size_t entry(Piece text);
  /// `(a, present, writable)`: a location's address and bits. `of` says where it goes to: upper
  /// entries name tables, and others frames.
  std::uint64_t entry_value(Piece text, const Entry& of);
  std::uint64_t named_frame(Piece name, bool is_leaf);

  /// A number, or the address of a location: "x", "&x".
  std::int64_t value(Piece text);
  static void demand_mm(Piece text, std::int64_t mm);
  /// Refuses a number that so many bytes do not hold.
  static void demand_fits(Piece text, std::int64_t value, std::uint8_t width);
  /// A number only.
  static std::int64_t constant(Piece text);
  /// Whether a type of C may have the word.
  [[nodiscard]] static bool is_type_word(std::string_view word);
  /// Bytes of a type of C; 0 if it does not say.
  static std::uint8_t type_width(Piece type);
  /// "0" or "P0".
  static std::uint32_t cpu(Piece text);

  // Each parses its part of the file into `test`. They throw SyntaxError.
  /// Returns what follows, from the initial state's '{' on.
  Piece metadata(Piece rest);
  void initial_state(Piece block);
  void program(Piece table);
  void final_part(Piece text);

  /// Widths, jump targets, and what must not be mixed or too much. After all parts are there;
  /// `program` is where it begins.
  void finish(Piece program);

  Test test;

 private:
  void metadata_line(Piece line);
  void check_metadata() const;
  void initial_item(Piece item);
  void initial_register(Piece cpu_name, Piece name, Piece right);
  void initial_array(Piece name, Piece values, std::uint8_t width);
  void header(const std::vector<Piece>& cells);
  void cell(std::size_t column, Piece text);
  void instruction(std::size_t column, Piece text);
  /// `extends`: MOVZX and MOVSX, whose operands have two sizes.
  void operands(std::size_t column, Instruction& made, Piece text, bool extends);
  static void operand_sizes(Instruction& made, Piece text, bool extends);
  Operand operand(std::size_t column, Piece text);
  Operand memory(std::size_t column, Piece text);
  Operand at_and_t_memory(std::size_t column, Piece text);
  void add_sum(Operand& made, Piece sum);
  void add_to_address(Operand& made, Piece part, bool negative);
  void finish_memory(std::size_t column, Operand& made, Piece text);
  void special(std::size_t column, Instruction& made, Piece text);
  void load_cr3(Instruction& made, Piece text, Piece value);
  void load_cr4(Instruction& made, Piece text, Piece value);
  void invalidation(std::size_t column, Instruction& made, Piece text);
  /// "$1" or "1".
  static std::int64_t immediate(Piece text);
  static void check_shape(const Instruction& made, Piece text);
  /// `suffix`: that of MOV.acq and the like; empty without one.
  void memory_order(Instruction& made, const std::string& suffix, Piece text) const;
  void jumps();

  // The checks of the whole; parse_check.cc.
  void widths();
  void check_fits() const;
  void check_places() const;
  void check_pages() const;
  void check_names();
  void check_observed_registers();
  void check_initial_registers() const;
  void check_size(Piece program) const;

  Piece locations_list(Piece rest);
  void after_condition(Piece rest);
  std::size_t term(Piece text);
  Term make_term(Piece text);
  /// The register, or the variable of a test in C.
  [[nodiscard]] std::optional<Register> register_of(std::uint32_t cpu, std::string_view name) const;
  std::size_t intern(const Term& term);
  void compare_with_value(Condition& made, Piece right);

  std::size_t make_location(std::string_view name, std::size_t at);
  void mention(std::size_t index, Piece name);
  /// Makes a location a page, a frame or a table, which it stays.
  void set_place(std::size_t index, Place place, Piece text);
  /// A known line of ours with a value that it must have; nothing without the line.
  void demand_value(std::string_view key, std::initializer_list<std::string_view> values) const;

  friend class ConditionParser;
  friend class CProgram;

  Part part_{Part::initial};
  std::vector<std::pair<Piece, Piece>> lines_;           // of the metadata: keys and values
  std::vector<std::pair<Piece, std::uint32_t>> cpus_;    // that the initial state names
  std::vector<std::pair<std::size_t, Piece>> values_;    // of locations, in the initial state
  std::vector<std::pair<std::size_t, Piece>> observed_;  // terms that are registers
  std::vector<bool> entry_has_value_;                    // by entry: the initial state gives one
  /// By function of a test in C.
  std::vector<std::map<std::string, Register, std::less<>>> variables_;
  std::size_t instructions_{0};
  std::map<std::string, std::size_t, std::less<>> location_by_name_;
  std::uint64_t next_address_{kFirstAddress};
  std::uint64_t next_far_address_{kFirstFarAddress};
  std::vector<std::map<std::string, std::size_t>> labels_;         // by column
  std::vector<std::map<std::size_t, std::string>> wanted_labels_;  // instruction to label
};

}  // namespace shootdown::host::litmus
