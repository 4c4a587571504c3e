// The functions of <stdatomic.h> in C tests.
#include <utility>

#include "litmus/alu.h"
#include "litmus/c_program.h"

namespace shootdown::host::litmus {

namespace {

constexpr std::string_view kExplicit = "_explicit";

/// What a compare-exchange is that is at least both.
std::memory_order join(std::memory_order success, std::memory_order failure) {
  if (success == std::memory_order_seq_cst || failure == std::memory_order_seq_cst) {
    return std::memory_order_seq_cst;
  }
  const bool acquires = failure == std::memory_order_acquire;
  if (acquires && success == std::memory_order_release) return std::memory_order_acq_rel;
  if (acquires && success == std::memory_order_relaxed) return std::memory_order_acquire;
  return success;
}

}  // namespace

const CProgram::Call* CProgram::find_call(std::string_view name) {
  static const std::map<std::string_view, Call> kCalls{
      {"atomic_load", {.kind = CallKind::load}},
      {"atomic_store", {.kind = CallKind::store}},
      {"atomic_exchange", {.kind = CallKind::exchange}},
      {"atomic_fetch_add", {.kind = CallKind::fetch, .op = Op::xadd}},
      {"atomic_fetch_sub", {.kind = CallKind::fetch, .op = Op::xadd, .subtracts = true}},
      {"atomic_fetch_or", {.kind = CallKind::fetch, .op = Op::bit_or}},
      {"atomic_fetch_xor", {.kind = CallKind::fetch, .op = Op::bit_xor}},
      {"atomic_fetch_and", {.kind = CallKind::fetch, .op = Op::bit_and}},
      // On x86-64 a weak one never fails without a reason.
      {"atomic_compare_exchange_strong", {.kind = CallKind::compare_exchange}},
      {"atomic_compare_exchange_weak", {.kind = CallKind::compare_exchange}},
      {"atomic_thread_fence", {.kind = CallKind::fence}}};
  const auto found = kCalls.find(name);
  return found == kCalls.end() ? nullptr : &found->second;
}

CProgram::Value CProgram::call(const CToken& name) {
  std::string_view plain = name.piece.text;
  const bool is_explicit = plain.ends_with(kExplicit);
  if (is_explicit) plain.remove_suffix(kExplicit.size());
  const Call* const known = find_call(plain);
  if (known == nullptr || (is_explicit && known->kind == CallKind::fence)) {
    throw SyntaxError{
        .at = name.piece.at,
        .what = quoted(name.piece.text) +
                " is no function that is known here; known are atomic_load, atomic_store, "
                "atomic_exchange, atomic_fetch_add, _sub, _or, _xor, _and, "
                "atomic_compare_exchange_strong, _weak, each also as ..._explicit, and "
                "atomic_thread_fence"};
  }
  Call made = *known;
  made.is_explicit = is_explicit;
  lexer_.expect("(");
  if (made.kind == CallKind::fence) {
    fence(memory_order());
    lexer_.expect(")");
    return {};
  }
  const CToken where = lexer_.peek();
  const Value object = expression();
  demand_pointer(object, where);
  if (made.kind == CallKind::compare_exchange) return compare_exchange(made, object, name);
  if (made.kind == CallKind::load) {
    const std::memory_order order = order_argument(made, name);
    lexer_.expect(")");
    return load(object, order);
  }
  return fetch(made, object, name);
}

/// Those with one operand besides the object: stores, exchanges and arithmetic.
CProgram::Value CProgram::fetch(const Call& call, const Value& object, const CToken& where) {
  lexer_.expect(",");
  const CToken operand_token = lexer_.peek();
  const Value value = expression();
  demand_number(value, operand_token);
  const std::memory_order order = order_argument(call, where);
  lexer_.expect(")");
  if (call.kind == CallKind::store) {
    store(object, value, order);
    return {};
  }
  if (call.kind == CallKind::exchange) {
    return exchange(object, value, order, /*stores_only=*/false);
  }
  const Register reg = copy(value, width_of(object));
  if (call.subtracts) {
    Instruction negation{.op = Op::neg, .width = reg.width};
    negation.operands[0] = register_operand(reg);
    emit(std::move(negation));
  }
  Instruction made{.op = call.op, .locked = true, .width = reg.width, .order = order};
  made.fetches = true;
  made.operands[0] = memory(object);
  made.operands[1] = register_operand(reg);
  emit(std::move(made));
  return in(reg);
}

CProgram::Value CProgram::compare_exchange(const Call& call, const Value& object,
                                           const CToken& where) {
  const std::uint8_t width = width_of(object);
  const Register accumulator{.number = 0, .width = width};
  lexer_.expect(",");
  // The expected value is in a variable or in memory.
  const bool in_variable = lexer_.take_if("&");
  const CToken expected_token = lexer_.peek();
  Value expected = in_variable ? name_value(lexer_.take()) : expression();
  if (in_variable) {
    demand_number(expected, expected_token);
    if (expected.reg.width != width) {
      throw SyntaxError{
          .at = expected_token.piece.at,
          .what = quoted(expected_token.piece.text) + " has another size than the object"};
    }
  } else {
    demand_pointer(expected, expected_token);
  }
  const Value pointer = expected;
  if (!in_variable) {
    builder_.test.has_plain_accesses = true;
    expected = load(pointer, kPlain);
  }
  lexer_.expect(",");
  const CToken desired_token = lexer_.peek();
  const Value desired = expression();
  demand_number(desired, desired_token);
  std::memory_order order = order_argument(call, where);
  if (call.is_explicit) {
    const Call failure{.kind = CallKind::load, .is_explicit = true};
    order = join(order, order_argument(failure, where));
  }
  lexer_.expect(")");
  move(accumulator, operand(expected, width));
  Instruction made{.op = Op::cmpxchg, .locked = true, .width = width, .order = order};
  made.operands[0] = memory(object);
  made.operands[1] = register_operand(copy(desired, width));
  emit(std::move(made));
  const Value result = truth_of(kEqual);
  if (in_variable) {
    move(expected.reg, register_operand(accumulator));
    return result;
  }
  const std::size_t jump = code().size();
  emit({.op = Op::jump_if, .condition = kEqual});
  store(pointer, in(accumulator), kPlain);
  code()[jump].target = code().size();
  return result;
}

/// One-way fences are compiler barriers that way: the hardware of x86-64 keeps these orders.
void CProgram::fence(std::memory_order order) {
  if (order == std::memory_order_relaxed) return;
  if (order == std::memory_order_seq_cst) return emit({.op = Op::full_fence});
  emit({.op = Op::light_fence, .order = order});
}

std::memory_order CProgram::order_argument(const Call& call, const CToken& name) {
  if (!call.is_explicit) return std::memory_order_seq_cst;
  lexer_.expect(",");
  const CToken where = lexer_.peek();
  const std::memory_order order = memory_order();
  const bool is_acquire = order == std::memory_order_acquire || order == std::memory_order_acq_rel;
  const bool is_release = order == std::memory_order_release || order == std::memory_order_acq_rel;
  if ((call.kind == CallKind::load && is_release) || (call.kind == CallKind::store && is_acquire)) {
    throw SyntaxError{.at = where.piece.at,
                      .what = quoted(where.piece.text) + " is no order for " +
                              (call.kind == CallKind::load ? "a load" : "a store") + ", in " +
                              quoted(name.piece.text)};
  }
  return order;
}

std::memory_order CProgram::memory_order() {
  // Compilers promote consume to acquire.
  static const std::map<std::string_view, std::memory_order> kOrders{
      {"memory_order_relaxed", std::memory_order_relaxed},
      {"memory_order_consume", std::memory_order_acquire},
      {"memory_order_acquire", std::memory_order_acquire},
      {"memory_order_release", std::memory_order_release},
      {"memory_order_acq_rel", std::memory_order_acq_rel},
      {"memory_order_seq_cst", std::memory_order_seq_cst}};
  const CToken token = lexer_.take();
  const auto found = kOrders.find(token.piece.text);
  if (found != kOrders.end()) return found->second;
  throw SyntaxError{.at = token.piece.at,
                    .what = quoted(token.piece.text) +
                            " is no memory order; they are memory_order_relaxed, _consume, "
                            "_acquire, _release, _acq_rel and _seq_cst"};
}

}  // namespace shootdown::host::litmus
