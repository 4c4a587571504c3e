#include "litmus/mnemonics.h"

#include <map>
#include <string_view>

namespace shootdown::host::litmus {

namespace {

const std::map<std::string, Mnemonic, std::less<>>& table() {
  static const std::map<std::string, Mnemonic, std::less<>> kTable{
      {"nop", {.op = Op::nop}},
      {"endbr64", {.op = Op::nop}},
      {"mov", {.op = Op::mov, .least = 2, .most = 3, .sized = true}},
      {"fetch", {.op = Op::mov, .least = 2, .most = 2, .sized = true, .executes = true}},
      {"movabs", {.op = Op::mov, .least = 2, .most = 2, .sized = true}},
      {"movzx", {.op = Op::mov, .least = 2, .most = 2, .extends = true}},
      {"movsx", {.op = Op::mov_sign_extended, .least = 2, .most = 2, .extends = true}},
      {"movsxd",
       {.op = Op::mov_sign_extended, .least = 2, .most = 2, .extends = true, .source_width = 4}},
      {"lea", {.op = Op::lea, .least = 2, .most = 2, .sized = true}},
      {"xchg", {.op = Op::xchg, .least = 2, .most = 2, .may_lock = true, .sized = true}},
      {"add", {.op = Op::add, .least = 2, .most = 2, .may_lock = true, .sized = true}},
      {"sub", {.op = Op::subtract, .least = 2, .most = 2, .may_lock = true, .sized = true}},
      {"and", {.op = Op::bit_and, .least = 2, .most = 2, .may_lock = true, .sized = true}},
      {"or", {.op = Op::bit_or, .least = 2, .most = 2, .may_lock = true, .sized = true}},
      {"xor", {.op = Op::bit_xor, .least = 2, .most = 2, .may_lock = true, .sized = true}},
      {"inc", {.op = Op::inc, .least = 1, .most = 1, .may_lock = true, .sized = true}},
      {"dec", {.op = Op::dec, .least = 1, .most = 1, .may_lock = true, .sized = true}},
      {"neg", {.op = Op::neg, .least = 1, .most = 1, .may_lock = true, .sized = true}},
      {"not", {.op = Op::bit_not, .least = 1, .most = 1, .may_lock = true, .sized = true}},
      {"xadd", {.op = Op::xadd, .least = 2, .most = 2, .may_lock = true, .sized = true}},
      {"cmpxchg", {.op = Op::cmpxchg, .least = 2, .most = 2, .may_lock = true, .sized = true}},
      {"bt", {.op = Op::bit_test, .least = 2, .most = 2, .sized = true}},
      {"bts", {.op = Op::bit_set, .least = 2, .most = 2, .may_lock = true, .sized = true}},
      {"btr", {.op = Op::bit_reset, .least = 2, .most = 2, .may_lock = true, .sized = true}},
      {"cmp", {.op = Op::cmp, .least = 2, .most = 2, .sized = true}},
      {"test", {.op = Op::test, .least = 2, .most = 2, .sized = true}},
      {"jmp", {.op = Op::jump, .least = 1, .most = 1}},
      {"ret", {.op = Op::leave}},
      {"mfence", {.op = Op::full_fence}},
      {"lfence", {.op = Op::light_fence, .is_lfence = true}},
      {"sfence", {.op = Op::light_fence}},
      {"pause", {.op = Op::pause}},
      {"cli", {.op = Op::cli}},
      {"sti", {.op = Op::sti}},
      {"invlpg", {.op = Op::invlpg, .least = 1, .most = 1}},
      {"invpcid", {.op = Op::invpcid, .least = 1, .most = 3}},
      {"invlpgb", {.op = Op::invlpgb, .least = 1, .most = 3}},
      {"tlbsync", {.op = Op::tlbsync}},
      {"ipi", {.op = Op::ipi, .least = 1, .most = 1}},
  };
  return kTable;
}

std::uint8_t suffix_width(char suffix) {
  switch (suffix) {
    case 'b':
      return 1;
    case 'w':
      return 2;
    case 'l':
      return 4;
    case 'q':
      return 8;
    default:
      return 0;
  }
}

/// The number of a condition in the opcodes of Jcc, SETcc and CMOVcc (SDM vol. 1, appendix B).
std::optional<std::uint8_t> condition_code(std::string_view name) {
  static const std::map<std::string_view, std::uint8_t> kCodes{
      {"o", 0},   {"no", 1},  {"b", 2},   {"c", 2},    {"nae", 2}, {"nb", 3},   {"nc", 3},
      {"ae", 3},  {"e", 4},   {"z", 4},   {"ne", 5},   {"nz", 5},  {"be", 6},   {"na", 6},
      {"nbe", 7}, {"a", 7},   {"s", 8},   {"ns", 9},   {"l", 12},  {"nge", 12}, {"nl", 13},
      {"ge", 13}, {"le", 14}, {"ng", 14}, {"nle", 15}, {"g", 15}};
  const auto found = kCodes.find(name);
  if (found == kCodes.end()) return {};
  return found->second;
}

/// Jcc, SETcc, CMOVcc.
std::optional<Mnemonic> conditional(std::string_view name) {
  Mnemonic made;
  if (name.starts_with("cmov")) {
    made = {.op = Op::move_if, .least = 2, .most = 2};
    name.remove_prefix(4);
  } else if (name.starts_with("set")) {
    made = {.op = Op::set_if, .least = 1, .most = 1, .width = 1};
    name.remove_prefix(3);
  } else if (name.starts_with("j")) {
    made = {.op = Op::jump_if, .least = 1, .most = 1};
    name.remove_prefix(1);
  } else {
    return {};
  }
  // Herd's names for two of them.
  if (made.op == Op::jump_if && name == "lt") name = "l";
  if (made.op == Op::jump_if && name == "gt") name = "g";
  auto code = condition_code(name);
  if (!code && made.op == Op::move_if && !name.empty()) {
    made.width = suffix_width(name.back());
    name.remove_suffix(1);
    if (made.width > 1) code = condition_code(name);
  }
  if (!code) return {};
  made.condition = *code;
  return made;
}

/// MOVZBL, MOVSLQ and the like: two sizes in the name.
std::optional<Mnemonic> extending_move(std::string_view name) {
  if (name.size() != 6 || !(name.starts_with("movz") || name.starts_with("movs"))) return {};
  const std::uint8_t from = suffix_width(name[4]);
  const std::uint8_t to = suffix_width(name[5]);
  if (from == 0 || to <= from) return {};
  return Mnemonic{.op = name[3] == 'z' ? Op::mov : Op::mov_sign_extended,
                  .least = 2,
                  .most = 2,
                  .extends = true,
                  .width = to,
                  .source_width = from};
}

}  // namespace

std::string known_mnemonics() {
  std::string names;
  for (const auto& [name, made] : table()) names += name + ", ";
  return names + "Jcc, SETcc and CMOVcc, with AT&T's suffixes";
}

std::optional<Mnemonic> find_mnemonic(const std::string& name) {
  if (const auto exact = table().find(name); exact != table().end()) return exact->second;
  if (auto found = conditional(name)) return found;
  if (auto found = extending_move(name)) return found;
  if (name.empty()) return {};
  const auto base = table().find(std::string_view(name).substr(0, name.size() - 1));
  const std::uint8_t width = suffix_width(name.back());
  if (base == table().end() || width == 0) return {};
  Mnemonic made = base->second;
  if (made.op == Op::leave) {
    // RETL and RETQ have a size of something that is not looked at here.
    if (width < 4) return {};
    return made;
  }
  const bool has_byte_form = made.op != Op::lea && made.op != Op::bit_test &&
                             made.op != Op::bit_set && made.op != Op::bit_reset;
  if (!made.sized || (width == 1 && !has_byte_form)) return {};
  made.width = width;
  return made;
}

}  // namespace shootdown::host::litmus
