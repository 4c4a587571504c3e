// The table of instructions, one column for each CPU.
#include <algorithm>

#include "hal/host/machine.h"
#include "litmus/builder.h"
#include "litmus/mnemonics.h"

namespace shootdown::host::litmus {

namespace {

bool ends_with_lock(Piece row) {
  const std::vector<Piece> cells = split(row, '|');
  return !cells.empty() && lower(cells.back().text) == "lock";
}

/// The table's rows. Old tests have a semicolon behind the prefix: "LOCK; INC [x]".
std::vector<Piece> rows_of(Piece table) {
  std::vector<Piece> rows;
  for (const Piece& row : split(table, ';')) {
    if (rows.empty() || !ends_with_lock(rows.back())) {
      rows.push_back(row);
      continue;
    }
    Piece& last = rows.back();
    last = table.part(last.at - table.at, row.at + row.text.size() - last.at);
  }
  return rows;
}

}  // namespace

void Builder::program(Piece table) {
  part_ = Part::program;
  std::vector<Piece> rows = rows_of(table);
  if (!rows.empty() && rows.back().empty()) rows.pop_back();
  if (rows.empty()) throw SyntaxError{.at = table.at, .what = "there is no program"};
  const std::vector<Piece> heads = split(rows[0], '|');
  header(heads);
  for (std::size_t row = 1; row < rows.size(); ++row) {
    const std::vector<Piece> cells = split(rows[row], '|');
    if (cells.size() > heads.size()) {
      throw SyntaxError{.at = rows[row].at,
                        .what = "this row has " + std::to_string(cells.size()) +
                                " columns and the table " + std::to_string(heads.size())};
    }
    for (std::size_t column = 0; column < cells.size(); ++column) cell(column, cells[column]);
  }
  if (instructions_ == 0) throw SyntaxError{.at = table.at, .what = "there are no instructions"};
}

/// "P0", "P1.irq".
void Builder::header(const std::vector<Piece>& cells) {
  for (const Piece& name : cells) {
    const std::size_t dot = std::min(name.text.find('.'), name.text.size());
    const std::string role = lower(name.text.substr(dot));
    Column made;
    if (role == suffix_of(Role::interrupt)) {
      made.role = Role::interrupt;
    } else if (role == suffix_of(Role::nmi)) {
      made.role = Role::nmi;
    } else if (!role.empty()) {
      throw SyntaxError{.at = name.at,
                        .what = quoted(name.text) + ": a column is P0, P0.irq or P0.nmi"};
    }
    // litmus7 allows remarks after the name.
    const Piece plain = name.part(0, std::min(dot, name.text.find_first_of(" :")));
    made.cpu = cpu(plain);
    if (made.role == Role::cpu) {
      if (made.cpu != test.cpus) {
        throw SyntaxError{.at = name.at, .what = "the columns of CPUs must be P0, P1 and so on"};
      }
      ++test.cpus;
    }
    for (const Column& other : test.columns) {
      if (other.cpu != made.cpu || other.role != made.role) continue;
      throw SyntaxError{.at = name.at,
                        .what = "the column " + quoted(name.text) + " is there twice"};
    }
    test.columns.push_back(made);
  }
  for (const Column& column : test.columns) {
    if (column.cpu < test.cpus) continue;
    throw SyntaxError{.at = cells[0].at,
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
      throw SyntaxError{.at = label.at, .what = "label " + quoted(label.text) + " is there twice"};
    }
    text = text.part(colon + 1).trimmed();
  }
  if (!text.empty()) instruction(column, text);
}

void Builder::instruction(std::size_t column, Piece text) {
  Instruction made;
  made.at = text.at;
  made.text = text.text;
  Piece rest = text;
  std::string name;
  for (;;) {
    std::size_t end = 0;
    while (end < rest.text.size() && rest.text[end] != ';' &&
           !std::isspace(static_cast<unsigned char>(rest.text[end])))
      ++end;
    name = lower(rest.text.substr(0, end));
    rest = rest.part(end).trimmed();
    if (name != "lock" || made.locked) break;
    made.locked = true;
    if (rest.text.starts_with(";")) rest = rest.part(1).trimmed();
  }
  std::string suffix;
  if (const std::size_t dot = name.find('.'); dot != std::string::npos) {
    suffix = name.substr(dot);
    name.resize(dot);
  }
  const auto mnemonic = find_mnemonic(name);
  if (!mnemonic) {
    throw SyntaxError{.at = text.at,
                      .what = "instruction " + quoted(text.text) +
                              " is not supported: " + (name.empty() ? "LOCK alone" : quoted(name)) +
                              " is unknown here; known are " + known_mnemonics()};
  }
  made.op = mnemonic->op;
  made.width = mnemonic->width;
  made.source_width = mnemonic->source_width;
  made.condition = mnemonic->condition;
  made.is_lfence = mnemonic->is_lfence;
  made.executes = mnemonic->executes;
  const std::size_t count = split(rest, ',').size();
  if (count < mnemonic->least || count > mnemonic->most) {
    throw SyntaxError{.at = text.at,
                      .what = "instruction " + quoted(text.text) + " is not supported with " +
                              std::to_string(count) + " operands"};
  }
  if (made.op == Op::jump || made.op == Op::jump_if) {
    wanted_labels_[column][test.columns[column].code.size()] = rest.text;
  } else if (made.op != Op::nop) {
    operands(column, made, rest, mnemonic->extends);
  }
  if (made.locked && !mnemonic->may_lock) {
    throw SyntaxError{.at = text.at,
                      .what = "instruction " + quoted(text.text) + " cannot have a LOCK prefix"};
  }
  check_shape(made, text);
  memory_order(made, suffix, text);
  if (++instructions_ > kMostInstructions) {
    throw SyntaxError{
        .at = text.at,
        .what = "a test has " + std::to_string(kMostInstructions) + " instructions at most"};
  }
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
    throw SyntaxError{.at = text.at,
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
        throw SyntaxError{.at = jump.at,
                          .what = quoted(jump.text) + ": there is no label " + quoted(label)};
      }
      jump.target = found->second;
    }
  }
}

}  // namespace shootdown::host::litmus
