// The table of instructions, one column for each CPU.
#include <algorithm>

#include "hal/host/litmus/builder.h"
#include "hal/host/litmus/mnemonics.h"
#include "hal/host/machine.h"

namespace shootdown::host::litmus {

void Builder::program(Piece table) {
  std::vector<Piece> rows = split(table, ';');
  if (!rows.empty() && rows.back().empty()) rows.pop_back();
  if (rows.empty()) throw SyntaxError{.line = table.line, .what = "there is no program"};
  const std::vector<Piece> heads = split(rows[0], '|');
  header(heads);
  for (std::size_t row = 1; row < rows.size(); ++row) {
    const std::vector<Piece> cells = split(rows[row], '|');
    if (cells.size() > heads.size()) {
      throw SyntaxError{.line = rows[row].line,
                        .what = "this row has " + std::to_string(cells.size()) +
                                " columns and the table " + std::to_string(heads.size())};
    }
    for (std::size_t column = 0; column < cells.size(); ++column) cell(column, cells[column]);
  }
}

/// "P0", "P1.irq".
void Builder::header(const std::vector<Piece>& cells) {
  for (const Piece& name : cells) {
    const std::size_t dot = std::min(name.text.find('.'), name.text.size());
    const std::string role = lower(name.text.substr(dot));
    Column made;
    if (role == ".irq") {
      made.role = Role::interrupt;
    } else if (!role.empty()) {
      throw SyntaxError{.line = name.line,
                        .what = quoted(name.text) + ": a column is P0 or P0.irq"};
    }
    // litmus7 allows remarks after the name.
    const Piece plain = name.part(0, std::min(dot, name.text.find_first_of(" :")));
    made.cpu = cpu(plain);
    if (made.role == Role::cpu) {
      if (made.cpu != test.cpus) {
        throw SyntaxError{.line = name.line,
                          .what = "the columns of CPUs must be P0, P1 and so on"};
      }
      ++test.cpus;
    }
    test.columns.push_back(made);
  }
  for (const Column& column : test.columns) {
    if (column.cpu < test.cpus) continue;
    throw SyntaxError{.line = cells[0].line,
                      .what = "P" + std::to_string(column.cpu) + " has no column of its own"};
  }
  labels_.resize(test.columns.size());
  wanted_labels_.resize(test.columns.size());
}

void Builder::cell(std::size_t column, Piece text) {
  // Labels, perhaps several.
  for (;;) {
    const std::size_t colon = text.text.find(':');
    if (colon == std::string_view::npos) break;
    const Piece label = text.part(0, colon).trimmed();
    if (!is_name(label.text)) break;
    const std::size_t here = test.columns[column].code.size();
    if (!labels_[column].emplace(std::string(label.text), here).second) {
      throw SyntaxError{.line = label.line,
                        .what = "label " + quoted(label.text) + " is there twice"};
    }
    text = text.part(colon + 1).trimmed();
  }
  if (!text.empty()) instruction(column, text);
}

void Builder::instruction(std::size_t column, Piece text) {
  Instruction made;
  made.line = text.line;
  made.text = text.text;
  Piece rest = text;
  std::string name;
  for (;;) {
    std::size_t end = 0;
    while (end < rest.text.size() && !std::isspace(static_cast<unsigned char>(rest.text[end])))
      ++end;
    name = lower(rest.text.substr(0, end));
    rest = rest.part(end).trimmed();
    if (name != "lock") break;
    made.locked = true;
  }
  std::string suffix;
  if (const std::size_t dot = name.find('.'); dot != std::string::npos) {
    suffix = name.substr(dot);
    name.resize(dot);
  }
  const auto mnemonic = find_mnemonic(name);
  if (!mnemonic) {
    throw SyntaxError{.line = text.line,
                      .what = "instruction " + quoted(text.text) + " is not supported: " +
                              (name.empty() ? "LOCK alone" : quoted(name)) + " is unknown here"};
  }
  made.op = mnemonic->op;
  made.width = mnemonic->width;
  made.source_width = mnemonic->source_width;
  made.condition = mnemonic->condition;
  const std::size_t count = split(rest, ',').size();
  if (count < mnemonic->least || count > mnemonic->most) {
    throw SyntaxError{.line = text.line,
                      .what = "instruction " + quoted(text.text) + " is not supported with " +
                              std::to_string(count) + " operands"};
  }
  if (made.op == Op::jump || made.op == Op::jump_if) {
    wanted_labels_[column][test.columns[column].code.size()] = rest.text;
  } else if (made.op != Op::nop) {
    operands(column, made, rest);
  }
  if (made.locked && !mnemonic->may_lock) {
    throw SyntaxError{.line = text.line,
                      .what = "instruction " + quoted(text.text) + " cannot have a LOCK prefix"};
  }
  check_shape(made, text);
  memory_order(made, suffix, text);
  test.columns[column].code.push_back(made);
}

void Builder::memory_order(Instruction& made, const std::string& suffix, Piece text) const {
  const auto is_memory = [](const Operand& one) { return one.kind == OperandKind::memory; };
  const bool stores = is_memory(made.operands[0]);
  const bool loads = is_memory(made.operands[1]);
  const bool modifies = made.locked || (made.op == Op::xchg && (stores || loads));
  if (modifies) made.order = std::memory_order_seq_cst;
  if (suffix.empty()) return;
  const auto demand = [&](bool good, const std::string& why) {
    if (good) return;
    throw SyntaxError{.line = text.line,
                      .what = "instruction " + quoted(text.text) + " is not supported: " + why};
  };
  const bool moves = made.op == Op::mov || made.op == Op::mov_sign_extended;
  demand((stores || loads) && (moves || modifies),
         quoted(suffix) + " goes with MOV and locked instructions that access memory");
  if (suffix == ".rlx") {
    made.order = std::memory_order_relaxed;
  } else if (suffix == ".acq") {
    demand(modifies || loads, "a store does not acquire");
    made.order = std::memory_order_acquire;
  } else if (suffix == ".rel") {
    demand(modifies || stores, "a load does not release");
    made.order = std::memory_order_release;
  } else if (suffix == ".acqrel") {
    demand(modifies, "only a locked instruction acquires and releases");
    made.order = std::memory_order_acq_rel;
  } else {
    demand(false, quoted(suffix) + " is no memory order; .rlx, .acq, .rel and .acqrel are");
  }
}

void Builder::jumps() {
  for (std::size_t column = 0; column < test.columns.size(); ++column) {
    for (const auto& [index, label] : wanted_labels_[column]) {
      Instruction& jump = test.columns[column].code[index];
      const auto found = labels_[column].find(label);
      if (found == labels_[column].end()) {
        throw SyntaxError{.line = jump.line,
                          .what = quoted(jump.text) + ": there is no label " + quoted(label)};
      }
      jump.target = found->second;
    }
  }
}

/// A location has one size. What the file does not say follows from its accesses.
void Builder::widths() {
  const auto visit = [&](auto&& action) {
    for (Column& column : test.columns) {
      for (Instruction& made : column.code) {
        for (const Operand& operand : made.operands) {
          if (operand.kind != OperandKind::memory || operand.location == kNone) continue;
          if (operand.has_base || operand.has_index || made.op == Op::lea) continue;
          action(made, test.locations[operand.location]);
        }
      }
    }
  };
  const auto width_of = [](const Instruction& made) {
    return made.source_width != 0 ? made.source_width : made.width;
  };
  visit([&](const Instruction& made, Location& location) {
    if (!location.declared) location.width = std::max(location.width, width_of(made));
  });
  const std::uint8_t usual = 4;
  for (Location& location : test.locations) {
    if (location.width == 0) location.width = location.place == Place::word ? usual : 8;
  }
  visit([&](Instruction& made, const Location& location) {
    if (made.width == 0) made.width = location.width;
    if (width_of(made) == location.width || location.place == Place::page || location.hidden)
      return;
    throw SyntaxError{.line = made.line,
                      .what = "instruction " + quoted(made.text) + " accesses " +
                              std::to_string(width_of(made)) + " bytes of " + location.name +
                              ", which has " + std::to_string(location.width) +
                              "; mixed sizes are not supported"};
  });
  for (Column& column : test.columns) {
    for (Instruction& made : column.code) {
      if (made.width == 0) made.width = test.arch == "X86" ? 4 : 8;
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
          throw SyntaxError{.line = made.line,
                            .what = quoted(made.text) + ": " + location.name +
                                    " is a page, and accesses to pages have no memory order"};
        }
        const bool page_wanted = made.op == Op::invlpg || made.op == Op::invpcid;
        if (location.place == Place::frame || location.place == Place::table) {
          throw SyntaxError{.line = made.line,
                            .what = quoted(made.text) + ": " + location.name +
                                    " is a frame; instructions reach it through a page"};
        }
        if (page_wanted && location.place != Place::page) {
          throw SyntaxError{.line = made.line,
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
void Builder::check_size(unsigned line) const {
  constexpr std::size_t kMostProcesses = 64;
  constexpr std::size_t kMostFrames = 64;
  // What the machine counts for fills and evictions.
  constexpr std::size_t kMostPages = 15;
  const auto is = [&](const char* key, std::string_view wanted) {
    const std::string* value = test.find(key);
    return value != nullptr && *value == wanted;
  };
  std::size_t pages = 0;
  std::size_t frames = 0;
  for (const Location& location : test.locations) {
    if (location.place == Place::page) ++pages;
    if (location.place == Place::frame || location.place == Place::table) ++frames;
  }
  const std::size_t surprises = (is("Fills", "off") ? 0U : 1U) + (is("Evictions", "on") ? 2U : 0U);
  const std::size_t processes = test.cpus * (3 + (pages * surprises));
  const bool fits = surprises == 0 || pages <= kMostPages;
  if (fits && processes <= kMostProcesses && frames <= kMostFrames) return;
  throw SyntaxError{.line = line,
                    .what = "the test is too large to be explored: " + std::to_string(processes) +
                            " things happen at the same time, of " +
                            std::to_string(kMostProcesses) + ", and " + std::to_string(frames) +
                            " frames are named, of " + std::to_string(kMostFrames) +
                            "; fewer pages or Fills=off help"};
}

void Builder::finish(unsigned line) {
  widths();
  jumps();
  check_places();
  check_size(line);
}

}  // namespace shootdown::host::litmus
