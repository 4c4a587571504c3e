// What only the whole test shows: sizes, places, typos, and what is too much.
#include <algorithm>

#include "hal/host/machine.h"
#include "litmus/builder.h"

namespace shootdown::host::litmus {

namespace {

/// The size of what an instruction reads or writes in memory.
std::uint8_t access_width(const Instruction& made) {
  return made.source_width != 0 ? made.source_width : made.width;
}

/// Whether an operand in memory is an address only.
bool invalidates(Op op) { return op == Op::invlpg || op == Op::invpcid || op == Op::invlpgb; }

}  // namespace

/// A location has one size, and all pages have one. What the file does not say follows from the
/// accesses.
void Builder::widths() {
  const auto visit = [&](auto&& action) {
    for (Column& column : test.columns) {
      for (Instruction& made : column.code) {
        for (const Operand& operand : made.operands) {
          if (operand.kind != OperandKind::memory || operand.location == kNone) continue;
          if (operand.has_base || operand.has_index || made.op == Op::lea) continue;
          if (invalidates(made.op)) continue;
          action(made, test.locations[operand.location]);
        }
      }
    }
  };
  std::uint8_t of_pages = 0;
  visit([&](const Instruction& made, Location& location) {
    if (location.place == Place::page) of_pages = std::max(of_pages, access_width(made));
    if (!location.declared) location.width = std::max(location.width, access_width(made));
  });
  constexpr std::uint8_t kUsual = 4;
  constexpr std::uint8_t kLargest = 8;
  if (of_pages == 0) of_pages = kLargest;
  for (Location& location : test.locations) {
    const bool paged = location.place == Place::page || location.place == Place::frame;
    if (paged && !location.declared) location.width = of_pages;
    if (location.width == 0) location.width = location.place == Place::word ? kUsual : kLargest;
  }
  visit([&](Instruction& made, const Location& location) {
    if (made.width == 0) made.width = location.width;
    if (access_width(made) == location.width || location.hidden) return;
    throw SyntaxError{.at = made.at,
                      .what = "instruction " + quoted(made.text) + " accesses " +
                              std::to_string(access_width(made)) + " bytes of " + location.name +
                              ", which has " + std::to_string(location.width) +
                              "; mixed sizes are not supported"};
  });
  for (Column& column : test.columns) {
    for (Instruction& made : column.code) {
      if (made.width != 0) continue;
      made.width = test.arch == "X86" ? 4 : 8;
      made.any_width = true;
    }
  }
}

/// Numbers that would lose bits in what they are put into or compared with.
void Builder::check_fits() const {
  for (const auto& [location, text] : values_) {
    const auto plain = number(text.text);
    if (plain) demand_fits(text, *plain, test.locations[location].width);
  }
  for (const Column& column : test.columns) {
    for (const Instruction& made : column.code) {
      const bool two = made.operands[0].kind != OperandKind::immediate;
      const Operand& from = made.operands[1];
      if (!two || from.kind != OperandKind::immediate || made.op == Op::jump) continue;
      demand_fits({.text = made.text, .at = made.at}, from.value, made.width);
    }
  }
}

void Builder::check_places() const {
  for (const Column& column : test.columns) {
    for (const Instruction& made : column.code) {
      for (const Operand& operand : made.operands) {
        if (operand.kind != OperandKind::memory || operand.location == kNone) continue;
        const Location& location = test.locations[operand.location];
        const auto usual = made.locked || made.op == Op::xchg ? std::memory_order_seq_cst
                                                              : std::memory_order_relaxed;
        if (location.place == Place::page && made.order != usual) {
          throw SyntaxError{.at = made.at,
                            .what = quoted(made.text) + ": " + location.name +
                                    " is a page, and accesses to pages have no memory order"};
        }
        const bool page_wanted = invalidates(made.op) || made.executes;
        if (location.place == Place::frame || location.place == Place::table) {
          throw SyntaxError{.at = made.at,
                            .what = quoted(made.text) + ": " + location.name +
                                    " is a frame; instructions reach it through a page"};
        }
        if (page_wanted && location.place != Place::page) {
          throw SyntaxError{.at = made.at,
                            .what = quoted(made.text) + ": " + location.name +
                                    " is no page; give "
                                    "it an entry in the initial state"};
        }
      }
    }
  }
}

/// The explorer tells 64 processes apart: each CPU's program, interrupt and store buffer, and what
/// its hardware does with each page. The machine has frames for so many pages.
void Builder::check_size(Piece program) const {
  constexpr std::size_t kMostProcesses = 64;
  constexpr std::size_t kMostFrames = 64;
  // What the machine counts for fills and evictions.
  constexpr std::size_t kMostPages = 15;
  std::size_t pages = 0;
  std::size_t frames = 0;
  for (const Location& location : test.locations) {
    if (location.place == Place::page) ++pages;
    if (location.place == Place::frame || location.place == Place::table) ++frames;
  }
  const std::size_t evictions = test.evictions().size();
  const std::size_t walks = test.speculative_walks().size();
  const auto has_column = [&](Role role) {
    return std::any_of(test.columns.begin(), test.columns.end(),
                       [role](const Column& column) { return column.role == role; });
  };
  const bool broadcasts =
      test.has_instruction([](const Instruction& made) { return made.op == Op::invlpgb; });
  // A program, an interrupt and a store buffer, and what else there is of each.
  const std::size_t each = 3U + walks + (2 * evictions) + (has_column(Role::nmi) ? 1U : 0U) +
                           (broadcasts ? test.cpus : 0U);
  const std::size_t processes = test.cpus * each;
  const bool fits = (walks == 0 && evictions == 0) || pages <= kMostPages;
  if (fits && processes <= kMostProcesses && frames <= kMostFrames) return;
  throw SyntaxError{.at = program.at,
                    .what = "the test is too large to be explored: " + std::to_string(processes) +
                            " things happen at the same time, of " +
                            std::to_string(kMostProcesses) + ", and " + std::to_string(frames) +
                            " frames are named, of " + std::to_string(kMostFrames) +
                            "; fewer pages or Fills=off help"};
}

/// Pages, frames and tables: what the initial state and the line "Far=" say of them.
void Builder::check_pages() const {
  for (const auto& [index, text] : values_) {
    const Location& location = test.locations[index];
    if (location.place != Place::page && location.place != Place::table) continue;
    throw SyntaxError{.at = text.at,
                      .what = quoted(location.name) +
                              " has no value of its own; give one to the frame that it maps"};
  }
  for (const auto& [key, value] : lines_) {
    if (key.text != "Far") continue;
    for (const Piece& name : words(value)) {
      const auto found = find_location(name.text);
      if (found && test.locations[*found].place == Place::page) continue;
      throw SyntaxError{.at = name.at,
                        .what = "Far names " + quoted(name.text) + ", which is no page"};
    }
  }
}

/// What the initial state does not declare and nothing else names is a typo in most cases, and what
/// the test says would be about nothing. Herd's tests leave initial states empty, so it is an error
/// only where the initial state declares other words.
void Builder::check_names() {
  const bool declares =
      std::any_of(test.locations.begin(), test.locations.end(), [](const Location& location) {
        return location.place == Place::word && location.named && !location.element;
      });
  for (const Location& location : test.locations) {
    const bool declared = location.named || location.element || location.hidden ||
                          location.place == Place::page || location.is_of_start();
    if (declared || location.mentions > 1) continue;
    const std::string what =
        quoted(location.name) + " is named only once, and the initial state gives it no value";
    if (location.place != Place::word || (declares && !location.by_address)) {
      throw SyntaxError{.at = location.at, .what = what};
    }
    test.warnings.push_back({.at = location.at, .what = what});
  }
}

/// A register that is observed and that nothing writes.
void Builder::check_observed_registers() {
  for (const auto& [term_index, text] : observed_) {
    const Term& term = test.terms[term_index];
    const auto is_named = [&](const Instruction& made) {
      return (made.op == Op::cmpxchg && term.number == 0) ||
             std::any_of(made.operands.begin(), made.operands.end(), [&](const Operand& one) {
               return one.kind == OperandKind::reg && one.reg.number == term.number;
             });
    };
    bool found = std::any_of(test.registers.begin(), test.registers.end(),
                             [&](const InitialRegister& initial) {
                               return initial.cpu == term.cpu && initial.number == term.number;
                             });
    for (const Column& column : test.columns) {
      if (column.cpu != term.cpu || column.role != Role::cpu) continue;
      found = found || std::any_of(column.code.begin(), column.code.end(), is_named);
    }
    if (found) continue;
    test.warnings.push_back({.at = text.at,
                             .what = quoted(text.text) + " is 0 throughout: no instruction of the "
                                                         "CPU names the register"});
  }
}

void Builder::check_initial_registers() const {
  for (const auto& [text, cpu] : cpus_) {
    if (cpu < test.cpus) continue;
    throw SyntaxError{.at = text.at, .what = quoted(text.text) + ": there is no such CPU"};
  }
}

void Builder::finish(Piece program) {
  check_places();
  widths();
  jumps();
  check_pages();
  check_size(program);
  check_initial_registers();
  check_names();
  check_observed_registers();
  check_fits();
}

}  // namespace shootdown::host::litmus
