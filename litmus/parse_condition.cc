// "locations", "filter", and the final condition.
#include <algorithm>
#include <array>

#include "hal/host/machine.h"
#include "litmus/builder.h"

namespace shootdown::host::litmus {

/// Recursive descent: implication, or, and, not, atom.
class ConditionParser {
 public:
  ConditionParser(Builder& builder, Piece text) : builder_(builder), rest_(text.trimmed()) {}

  /// As much of the text as is a condition.
  Condition parse() { return implication(); }
  [[nodiscard]] Piece rest() const { return rest_; }

 private:
  static Condition join(Connective connective, Condition a, Condition b) {
    Condition made{.connective = connective};
    made.operands.push_back(std::move(a));
    made.operands.push_back(std::move(b));
    return made;
  }

  /// The tree of a condition is walked recursively, so its depth is limited.
  struct Nesting {
    explicit Nesting(ConditionParser& parser) : depth(parser.depth_) {
      if (++depth <= kMostNesting) return;
      throw SyntaxError{
          .at = parser.rest_.at,
          .what = "the condition is nested more than " + std::to_string(kMostNesting) + " deep"};
    }
    ~Nesting() { --depth; }
    std::size_t& depth;
  };

  Condition implication() {
    Condition left = disjunction();
    if (!take("=>")) return left;
    return join(Connective::implies, std::move(left), implication());
  }
  Condition disjunction() {
    Condition left = conjunction();
    while (take("\\/") || take("||") || take("\u2228") || take_word("or")) {
      left = join(Connective::either, std::move(left), conjunction());
    }
    return left;
  }
  Condition conjunction() {
    Condition left = negation();
    while (take("/\\") || take("&&") || take("\u2227") || take_word("and")) {
      left = join(Connective::both, std::move(left), negation());
    }
    return left;
  }
  Condition negation() {
    const Nesting nesting(*this);
    if (take("~") || take("\u00ac") || take_word("not")) {
      Condition made{.connective = Connective::negation};
      made.operands.push_back(negation());
      return made;
    }
    if (take("(")) {
      Condition made = implication();
      if (!take(")")) {
        throw SyntaxError{.at = rest_.at, .what = "')' is missing before " + quoted(rest_.text)};
      }
      return made;
    }
    if (++atoms_ > kMostAtoms) {
      throw SyntaxError{
          .at = rest_.at,
          .what = "a condition compares " + std::to_string(kMostAtoms) + " times at most"};
    }
    if (take_word("true")) return {};
    if (take_word("false")) {
      Condition made{.connective = Connective::negation};
      made.operands.emplace_back();
      return made;
    }
    return atom();
  }

  Condition atom() {
    const Piece left = side();
    Condition made;
    if (take("!=") || take("<>")) {
      made.connective = Connective::unequal;
    } else if (take("==") || take("=")) {
      made.connective = Connective::equal;
    } else {
      throw SyntaxError{.at = rest_.at,
                        .what = "after " + quoted(left.text) + " '=' or '!=' is expected, not " +
                                quoted(rest_.text)};
    }
    made.left = builder_.term(left);
    const Piece right = side();
    if (right.text.find(':') != std::string_view::npos || right.text.starts_with("[") ||
        right.text.starts_with("*")) {
      made.right_is_term = true;
      made.right = builder_.term(right);
    } else {
      builder_.compare_with_value(made, right);
    }
    return made;
  }

  /// One side of an atom: up to an operator, with the brackets that belong to it.
  Piece side() {
    std::size_t i = 0;
    int depth = 0;
    for (; i < rest_.text.size(); ++i) {
      const char character = rest_.text[i];
      if (character == '(' || character == '[') ++depth;
      if ((character == ')' || character == ']') && --depth < 0) break;
      if (depth == 0 &&
          std::string_view("=!<>/\\&| \t\n").find(character) != std::string_view::npos) {
        // Blanks may stand inside "P0 : EAX", nowhere else.
        const Piece after = rest_.part(i).trimmed();
        const bool joined =
            after.text.starts_with(":") || rest_.part(0, i).trimmed().text.ends_with(":");
        if (character != ' ' || !joined) break;
      }
      if (static_cast<unsigned char>(character) >= 0x80) break;
    }
    const Piece made = rest_.part(0, i).trimmed();
    rest_ = rest_.part(i).trimmed();
    if (made.empty()) {
      throw SyntaxError{.at = rest_.at,
                        .what = "the condition lacks something before " + quoted(rest_.text)};
    }
    return made;
  }

  bool take(std::string_view token) {
    if (!rest_.text.starts_with(token)) return false;
    rest_ = rest_.part(token.size()).trimmed();
    return true;
  }
  bool take_word(std::string_view word) {
    if (lower(rest_.text.substr(0, word.size())) != word) return false;
    if (rest_.text.size() > word.size()) {
      const char next = rest_.text[word.size()];
      if (is_name_part(next) || next == ':' || next == '=') return false;
    }
    rest_ = rest_.part(word.size()).trimmed();
    return true;
  }

  Builder& builder_;
  Piece rest_;
  std::size_t depth_{0};
  std::size_t atoms_{0};
};

namespace {

Field field_of(Piece name) {
  static constexpr std::array<std::string_view, 10> kNames{
      "", "frame", "present", "writable", "accessed", "dirty", "large", "global", "user", "nx"};
  static_assert(kNames.size() == static_cast<std::size_t>(Field::nx) + 1);
  const auto* const found = std::find(kNames.begin() + 1, kNames.end(), lower(name.text));
  if (found == kNames.end()) {
    throw SyntaxError{.at = name.at,
                      .what = quoted(name.text) +
                              " is no part of an entry; they are frame, present, "
                              "writable, accessed, dirty, large, global, user, nx"};
  }
  return static_cast<Field>(found - kNames.begin());
}

/// Length of the keyword that the text begins with, 0 if it is none.
std::size_t keyword(std::string_view text, std::string_view word) {
  if (lower(text.substr(0, word.size())) != word) return 0;
  if (text.size() > word.size() && is_name_part(text[word.size()])) return 0;
  return word.size();
}

/// Removes the quantifier that the text begins with.
std::optional<Quantifier> take_quantifier(Piece& rest) {
  const bool negated = rest.text.starts_with("~");
  const Piece plain = negated ? rest.part(1).trimmed() : rest;
  for (const std::string_view word : {"exists", "final", "forall"}) {
    const std::size_t length = keyword(plain.text, word);
    if (length == 0 || (negated && word != "exists")) continue;
    rest = plain.part(length).trimmed();
    if (word == "forall") return Quantifier::forall;
    return negated ? Quantifier::not_exists : Quantifier::exists;
  }
  return {};
}

}  // namespace

/// The right side of an atom that is no term: a number, a location's address, or an entry.
void Builder::compare_with_value(Condition& made, Piece right) {
  const Term& term = test.terms[made.left];
  const bool is_entry_term = term.kind == TermKind::entry && term.field == Field::whole;
  if (right.text.starts_with("(") || is_entry_term) {
    if (term.field != Field::whole || (!is_entry_term && term.kind != TermKind::reg)) {
      throw SyntaxError{
          .at = right.at,
          .what = quoted(right.text) + " is an entry, and " + quoted(term.text) + " is none"};
    }
    const Entry of = is_entry_term ? test.entries[term.index] : Entry();
    made.value = static_cast<std::int64_t>(entry_value(right, of));
    made.mask = ~kPteUser;
    return;
  }
  made.value = value(right);
  if (term.field != Field::whole && term.field != Field::frame && (made.value & ~1) != 0) {
    throw SyntaxError{.at = right.at, .what = quoted(right.text) + ": a flag is 0 or 1"};
  }
  if (term.kind == TermKind::reg && term.field == Field::whole) {
    demand_fits(right, made.value, term.width);
  }
  if (term.kind == TermKind::location) values_.emplace_back(term.index, right);
}

std::size_t Builder::intern(const Term& term) {
  const auto found = std::find(test.terms.begin(), test.terms.end(), term);
  if (found != test.terms.end()) return static_cast<std::size_t>(found - test.terms.begin());
  test.terms.push_back(term);
  return test.terms.size() - 1;
}

std::size_t Builder::term(Piece text) {
  if (test.terms.size() == kMostTerms) {
    throw SyntaxError{.at = text.at,
                      .what = "a test observes " + std::to_string(kMostTerms) +
                              " registers and locations at most"};
  }
  const std::size_t known = test.terms.size();
  const std::size_t index = intern(make_term(text));
  if (index == known && test.terms[index].kind == TermKind::reg)
    observed_.emplace_back(index, text);
  return index;
}

std::optional<Register> Builder::register_of(std::uint32_t cpu, std::string_view name) const {
  if (!test.is_c()) return find_register(name);
  const auto found = variables_[cpu].find(name);
  if (found == variables_[cpu].end()) return {};
  return found->second;
}

Term Builder::make_term(Piece text) {
  Term made;
  if (is_entry(text.text)) {
    const std::size_t dot = text.text.find('.', text.text.rfind(')'));
    if (dot != std::string_view::npos) made.field = field_of(text.part(dot + 1));
    made.kind = TermKind::entry;
    const std::size_t before = test.entries.size();
    made.index = entry(text.part(0, dot));
    if (made.index == before) {
      throw SyntaxError{.at = text.at,
                        .what = quoted(text.text) + ": nothing else names this entry"};
    }
    made.text = text.text;
    return made;
  }
  const std::size_t colon = text.text.find(':');
  if (colon != std::string_view::npos) {
    const Piece owner = text.part(0, colon).trimmed();
    Piece name = text.part(colon + 1).trimmed();
    made.cpu = cpu(owner);
    if (made.cpu >= test.cpus) {
      throw SyntaxError{.at = owner.at, .what = quoted(text.text) + ": there is no such CPU"};
    }
    if (const std::size_t dot = name.text.find('.'); dot != std::string_view::npos) {
      made.field = field_of(name.part(dot + 1));
      name = name.part(0, dot);
    }
    made.text = std::to_string(made.cpu) + ":" + std::string(text.part(colon + 1).trimmed().text);
    const std::string low = lower(name.text);
    if ((low == "fault" || low == "gp") && !test.is_c() && made.field == Field::whole) {
      made.kind = low == "gp" ? TermKind::gp : TermKind::fault;
      return made;
    }
    const auto reg = register_of(made.cpu, name.text);
    if (!reg) {
      throw SyntaxError{
          .at = name.at,
          .what = quoted(name.text) +
                  (test.is_c() ? " is no variable of that function" : " is no register")};
    }
    made.kind = TermKind::reg;
    made.number = reg->number;
    made.width = reg->width;
    return made;
  }
  Piece name = text;
  if (name.text.starts_with("*")) name = name.part(1).trimmed();
  if (name.text.starts_with("[") && name.text.ends_with("]")) {
    name = name.part(1, name.text.size() - 2).trimmed();
  }
  made.kind = TermKind::location;
  made.index = known(name);
  made.text = name.text;
  if (test.arch != "X86") made.text = "[" + made.text + "]";
  const Place place = test.locations[made.index].place;
  if (place == Place::page || place == Place::table) {
    throw SyntaxError{.at = text.at,
                      .what = quoted(text.text) +
                              " has no value of its own; name the frame or the "
                              "entry"};
  }
  return made;
}

void Builder::final_part(Piece text) {
  part_ = Part::final;
  // What follows "<<" are settings of litmus7.
  Piece rest = text.part(0, text.text.find("<<")).trimmed();
  const auto one_of = [&](std::initializer_list<std::string_view> words_wanted) {
    for (const std::string_view word : words_wanted) {
      if (const std::size_t length = keyword(rest.text, word)) {
        rest = rest.part(length).trimmed();
        return true;
      }
    }
    return false;
  };
  const bool lists = one_of({"locations", "observed"});
  if (lists) rest = locations_list(rest);
  if (one_of({"filter"})) {
    ConditionParser parser(*this, rest);
    test.filter = parser.parse();
    rest = parser.rest();
  }
  if (const auto quantifier = take_quantifier(rest)) {
    test.quantifier = *quantifier;
  } else if (lists && rest.text.starts_with("(")) {
    test.quantifier = Quantifier::exists;
  } else if (rest.empty() && lists && test.find("Expect") == nullptr) {
    // Only the states are asked for.
    test.shown = test.terms.size();
    return;
  } else if (rest.empty()) {
    throw SyntaxError{.at = rest.at,
                      .what = "the test asks nothing: there is no exists, ~exists or forall"};
  } else {
    throw SyntaxError{.at = rest.at,
                      .what = quoted(rest.text) + ": exists, ~exists or forall is expected"};
  }
  ConditionParser parser(*this, rest);
  test.condition = parser.parse();
  test.shown = test.terms.size();
  after_condition(parser.rest());
}

/// "; with tso: ~exists; sc: forall;": what other models say of the condition.
void Builder::after_condition(Piece rest) {
  if (rest.text.starts_with(";")) rest = rest.part(1).trimmed();
  if (const std::size_t length = keyword(rest.text, "with");
      length != 0 && length < rest.text.size()) {
    for (const Piece& item : split(rest.part(length), ';')) {
      if (item.empty()) continue;
      const std::size_t colon = std::min(item.text.find(':'), item.text.size());
      Piece right = item.part(std::min(colon + 1, item.text.size())).trimmed();
      const auto quantifier = take_quantifier(right);
      if (!is_name(item.part(0, colon).trimmed().text) || !quantifier || !right.empty()) {
        throw SyntaxError{
            .at = item.at,
            .what = quoted(item.text) + ": behind 'with' stand models, as in tso: ~exists"};
      }
      test.kinds.emplace_back(item.part(0, colon).trimmed().text, *quantifier);
    }
    return;
  }
  if (rest.empty()) return;
  throw SyntaxError{.at = rest.at, .what = "the condition ends before " + quoted(rest.text)};
}

/// "[x; 0:EAX;]", and what comes after it.
Piece Builder::locations_list(Piece rest) {
  int depth = 0;
  std::size_t close = 0;
  for (; close < rest.text.size(); ++close) {
    if (rest.text[close] == '[') ++depth;
    if (rest.text[close] == ']' && --depth == 0) break;
  }
  if (!rest.text.starts_with("[") || close == rest.text.size()) {
    throw SyntaxError{.at = rest.at, .what = "'locations' needs a list as [x; 0:EAX;]"};
  }
  for (const Piece& item : split(rest.part(1, close - 1), ';')) {
    if (item.empty()) continue;
    // "x int*": a type says how to print it.
    std::vector<Piece> parts = words(item);
    while (parts.size() > 1 && is_type_word(parts.back().text)) parts.pop_back();
    const std::size_t end = parts.back().at + parts.back().text.size();
    term(item.part(0, end - item.at));
  }
  return rest.part(close + 1).trimmed();
}

}  // namespace shootdown::host::litmus
