// Functions and statements of C tests.
#include "litmus/c_program.h"

#include <algorithm>
#include <array>
#include <utility>

#include "hal/host/machine.h"

namespace shootdown::host::litmus {

namespace {

bool is_function_name(const CToken& token) {
  const std::string_view text = token.piece.text;
  return token.kind == CTokenKind::name && text.size() > 1 && text[0] == 'P' &&
         text.find_first_not_of("0123456789", 1) == std::string_view::npos;
}

bool is_type_start(const CToken& token) {
  return token.kind == CTokenKind::name && Builder::is_type_word(token.piece.text);
}

[[noreturn]] void refuse(const CToken& token, const std::string& why) {
  throw SyntaxError{.at = token.piece.at, .what = quoted(token.piece.text) + why};
}

}  // namespace

Piece CProgram::parse() {
  builder_.part_ = Part::program;
  const Piece begin = lexer_.rest();
  while (is_function_name(lexer_.peek())) function();
  if (builder_.test.columns.empty()) {
    throw SyntaxError{.at = begin.at,
                      .what =
                          "behind the initial state of a C test stand functions, as in P0 "
                          "(atomic_int* x) { ... }"};
  }
  if (builder_.instructions_ == 0) {
    throw SyntaxError{.at = begin.at, .what = "there are no instructions"};
  }
  builder_.labels_.resize(builder_.test.columns.size());
  builder_.wanted_labels_.resize(builder_.test.columns.size());
  return lexer_.rest();
}

void CProgram::function() {
  const CToken name = lexer_.take();
  if (Builder::cpu(name.piece) != builder_.test.cpus) {
    refuse(name, ": the functions must be P0, P1 and so on");
  }
  column_ = builder_.test.columns.size();
  builder_.test.columns.push_back({.role = Role::cpu, .cpu = builder_.test.cpus++, .code = {}});
  builder_.variables_.emplace_back();
  parameters_.clear();
  unsigned_.clear();
  lexer_.expect("(");
  if (!lexer_.take_if(")")) {
    do parameter();
    while (lexer_.take_if(","));
    lexer_.expect(")");
  }
  block();
}

/// "atomic_int* x": the location of that name.
void CProgram::parameter() {
  const CToken first = lexer_.peek();
  if (!is_type_start(first)) refuse(first, " is no type of C");
  const Type made = type();
  const CToken name = lexer_.take();
  if (!made.is_pointer || name.kind != CTokenKind::name) {
    refuse(first, ": a parameter is a pointer to a location and its name, as in atomic_int* x");
  }
  const std::size_t index = builder_.location(name.piece);
  Location& location = builder_.test.locations[index];
  if (location.declared && location.width != made.width) {
    refuse(name, " has " + std::to_string(location.width) + " bytes elsewhere");
  }
  location.width = made.width;
  location.declared = location.named = true;
  const Parameter parameter{.location = index, .is_atomic = made.is_atomic};
  if (!parameters_.emplace(name.piece.text, parameter).second) refuse(name, " is there twice");
}

/// Words, "_Atomic(int)" and stars.
CProgram::Type CProgram::type() {
  Type made;
  const CToken first = lexer_.peek();
  bool is_int = false;
  while (is_type_start(lexer_.peek()) || (made.is_atomic && lexer_.peek().is("("))) {
    const CToken word = lexer_.take();
    if (word.is("(")) {
      made.width = type().width;
      lexer_.expect(")");
      continue;
    }
    const std::uint8_t width = Builder::type_width(word.piece);
    const bool qualifies = word.is("volatile") || word.is("const") || word.is("_Atomic");
    if (width == 1 || width == 2) {
      refuse(word, " has " + std::to_string(width) + (width == 1 ? " byte" : " bytes") +
                       "; C tests have 4 and 8");
    }
    if (!qualifies) made.width = std::max(made.width, width);
    is_int = is_int || !qualifies;
    const std::string_view text = word.piece.text;
    made.is_unsigned = made.is_unsigned || text.starts_with("u") || text.starts_with("atomic_u");
    made.is_atomic = made.is_atomic || word.is("_Atomic") || text.starts_with("atomic_");
  }
  if (made.width == 0) refuse(first, " names no size");
  while (lexer_.peek().is("*")) {
    const CToken star = lexer_.take();
    if (made.is_pointer) refuse(star, ": a pointer to a pointer is not supported");
    made.is_pointer = true;
    while (lexer_.take_if("const") || lexer_.take_if("volatile") || lexer_.take_if("restrict")) {
    }
  }
  return made;
}

void CProgram::block() {
  lexer_.expect("{");
  while (!lexer_.take_if("}")) {
    if (lexer_.peek().kind == CTokenKind::end) lexer_.expect("}");
    statement();
  }
}

void CProgram::statement() {
  const CToken token = lexer_.peek();
  const Piece rest = lexer_.rest();
  statement_ = rest.part(0, std::min(rest.text.find_first_of(";{}"), rest.text.size())).trimmed();
  temporaries_ = 0;
  static constexpr std::array<std::string_view, 9> kOthers{
      "for", "do", "return", "goto", "switch", "break", "continue", "else", "case"};
  if (std::find(kOthers.begin(), kOthers.end(), token.piece.text) != kOthers.end()) {
    refuse(token,
           " is not supported here; declarations, assignments, calls, if, else and while are");
  }
  if (++depth_ > kMostNesting) refuse(token, ": the statements are nested too deep");
  if (token.is("{")) {
    block();
  } else if (token.is("if")) {
    if_statement();
  } else if (token.is("while")) {
    while_statement();
  } else if (!lexer_.take_if(";")) {
    if (is_type_start(token)) {
      declaration();
    } else if (token.is("*")) {
      store_statement();
    } else if (lexer_.peek_second().is("=")) {
      assignment();
    } else if (token.kind == CTokenKind::name && lexer_.peek_second().is("(")) {
      call(lexer_.take());
    } else {
      refuse(token, " begins no statement; declarations, assignments, calls, if and while do");
    }
    lexer_.expect(";");
  }
  --depth_;
}

Register CProgram::declare(const CToken& name, const Type& type) {
  auto& variables = builder_.variables_.back();
  if (name.kind != CTokenKind::name || type.is_pointer || type.is_atomic) {
    refuse(name, ": a variable is of a plain integer type");
  }
  if (variables.contains(name.piece.text) || parameters_.contains(name.piece.text)) {
    refuse(name, " is declared already");
  }
  if (variables.size() == kMostVariables) {
    refuse(name, " is one variable too many; a function has " + std::to_string(kMostVariables) +
                     " at most");
  }
  // The accumulator comes first.
  const Register reg{.number = static_cast<std::uint8_t>(variables.size() + 1),
                     .width = type.width};
  variables.emplace(name.piece.text, reg);
  unsigned_.emplace(name.piece.text, type.is_unsigned);
  return reg;
}

void CProgram::declaration() {
  const Type made = type();
  do {
    const CToken name = lexer_.take();
    const Register reg = declare(name, made);
    if (!lexer_.take_if("=")) continue;
    const CToken where = lexer_.peek();
    const Value value = expression();
    demand_number(value, where);
    move(reg, operand(value, reg.width));
  } while (lexer_.take_if(","));
}

void CProgram::assignment() {
  const CToken name = lexer_.take();
  const Value to = name_value(name);
  if (to.kind != ValueKind::reg) refuse(name, " is a location; '*' stores to it");
  lexer_.expect("=");
  const CToken where = lexer_.peek();
  const Value value = expression();
  demand_number(value, where);
  move(to.reg, operand(value, to.reg.width));
}

/// "*x = 1".
void CProgram::store_statement() {
  lexer_.expect("*");
  const CToken where = lexer_.peek();
  const Value to = unary();
  demand_pointer(to, where);
  lexer_.expect("=");
  const CToken from = lexer_.peek();
  const Value value = expression();
  demand_number(value, from);
  store(to, value, plain_order(to));
}

void CProgram::if_statement() {
  const CToken where = lexer_.take();
  lexer_.expect("(");
  const std::size_t over = jump_if_zero(expression(), where);
  lexer_.expect(")");
  statement();
  if (lexer_.peek().is("else")) {
    lexer_.take();
    const std::size_t end = code().size();
    emit({.op = Op::jump});
    code()[over].target = code().size();
    statement();
    code()[end].target = code().size();
    return;
  }
  code()[over].target = code().size();
}

void CProgram::while_statement() {
  const CToken where = lexer_.take();
  const std::size_t begin = code().size();
  lexer_.expect("(");
  const std::size_t over = jump_if_zero(expression(), where);
  lexer_.expect(")");
  statement();
  emit({.op = Op::jump, .target = begin});
  code()[over].target = code().size();
}

}  // namespace shootdown::host::litmus
