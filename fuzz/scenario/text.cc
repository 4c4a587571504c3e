// The text form of a scenario: parsing, with errors that say what to write instead.
// FORMAT.md describes the grammar.
#include <algorithm>
#include <optional>
#include <utility>

#include "fuzz/scenario/kinds.h"
#include "fuzz/scenario/scenario.h"

namespace shootdown::fuzz {
namespace {

constexpr std::string_view kBlanks = " \t\r\f\v";

/// "\x7f"
std::string hexadecimal(unsigned char byte) {
  constexpr std::string_view kHex = "0123456789abcdef";
  return {'\\', 'x', kHex[byte >> 4], kHex[byte & 0xf]};
}

/// A piece of the input as it may stand in an error message: short and printable.
std::string quote(std::string_view piece) {
  constexpr std::size_t kLongest = 40;
  std::string text = "'";
  for (const char character : piece.substr(0, kLongest)) {
    const auto byte = static_cast<unsigned char>(character);
    if (byte >= 0x20 && byte < 0x7f) {
      text += character;
    } else {
      text += hexadecimal(byte);
    }
  }
  return text + (piece.size() > kLongest ? "...'" : "'");
}

std::string range(unsigned first, unsigned last) {
  if (first == last) return std::to_string(first);
  return std::to_string(first) + " .. " + std::to_string(last);
}

/// Number of characters to insert, remove or replace to turn one word into the other.
std::size_t edit_distance(std::string_view from, std::string_view to) {
  std::vector<std::size_t> row(to.size() + 1);
  for (std::size_t i = 0; i < row.size(); ++i) row[i] = i;
  for (std::size_t i = 0; i < from.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < to.size(); ++j) {
      const std::size_t replaced = diagonal + (from[i] == to[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, diagonal + 1, row[j] + 1});
    }
  }
  return row.back();
}

/// "; did you mean 'unmap'?" if a known word is near, else the list of known words.
std::string advice(std::string_view found, std::span<const std::string_view> known) {
  constexpr std::size_t kNear = 2;
  const std::string_view* best = nullptr;
  std::size_t best_distance = kNear + 1;
  for (const std::string_view& word : known) {
    if (found.size() > word.size() + kNear) continue;
    const std::size_t distance = edit_distance(found, word);
    if (distance >= best_distance || distance >= word.size()) continue;
    best = &word;
    best_distance = distance;
  }
  if (best != nullptr) return "; did you mean " + quote(*best) + "?";
  std::string text = "; expected one of";
  for (const std::string_view& word : known) {
    text.append(&word == known.data() ? " " : ", ").append(word);
  }
  return text;
}

template <class Shape, std::size_t kCount>
constexpr std::array<std::string_view, kCount> names_of(const std::array<Shape, kCount>& shapes) {
  std::array<std::string_view, kCount> names;
  for (std::size_t i = 0; i < kCount; ++i) names[i] = shapes[i].name;
  return names;
}
constexpr auto kOpNames = names_of(kOpShapes);
constexpr auto kDeviationNames = names_of(kDeviationShapes);
constexpr std::array<std::string_view, 3> kItems{"config", "cpu", "at"};

std::optional<unsigned> index_of(std::string_view word, std::span<const std::string_view> known) {
  const auto found = std::find(known.begin(), known.end(), word);
  if (found == known.end()) return std::nullopt;
  return static_cast<unsigned>(found - known.begin());
}

/// One "name=value" that a line must have, or may have instead of the default.
struct Field {
  std::string_view name;
  unsigned first;
  unsigned last;
  std::string_view why_last{};  // What the upper limit depends on, for the error message.
  bool has_default{false};
  unsigned value{0};
  std::span<const std::string_view> names{};  // Of the values, where they are no numbers.
  bool seen{false};
};

Field optional_field(std::string_view name, unsigned first, unsigned last, unsigned preset) {
  return {.name = name, .first = first, .last = last, .has_default = true, .value = preset};
}

using Tokens = std::span<const std::string_view>;

/// How many bytes the UTF-8 character has that `text` begins with; 0 if it begins with none.
std::size_t utf8_character(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  const std::size_t size = lead < 0x80   ? 1
                           : lead < 0xc2 ? 0
                           : lead < 0xe0 ? 2
                           : lead < 0xf0 ? 3
                                         : 4;
  if (size == 0 || size > text.size() || lead > 0xf4) return 0;
  for (std::size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  const bool too_long = (lead == 0xe0 && byte(1) < 0xa0) || (lead == 0xf0 && byte(1) < 0x90);
  const bool no_character = (lead == 0xed && byte(1) > 0x9f) || (lead == 0xf4 && byte(1) > 0x8f);
  return too_long || no_character ? 0 : size;
}

/// What keeps a file from being text at all, before its lines are read. Empty if nothing does.
std::string wrong_encoding(std::string_view text) {
  if (text.starts_with("\xef\xbb\xbf")) {
    return "the text begins with a byte-order mark; save it as UTF-8 without one";
  }
  if (text.starts_with("\xff\xfe") || text.starts_with("\xfe\xff")) {
    return "the text is UTF-16; save it as UTF-8";
  }
  return "";
}

class Parser {
 public:
  [[nodiscard]] bool parse(std::string_view text);
  [[nodiscard]] const Scenario& scenario() const { return scenario_; }
  [[nodiscard]] const std::vector<unsigned>& deviation_lines() const { return deviation_lines_; }
  [[nodiscard]] ParseError error() const { return error_; }

 private:
  bool fail(std::string what) {
    error_.what = std::move(what);
    return false;
  }
  bool parse_line(std::string_view line);
  bool check_line_end(std::string_view line);
  bool parse_items(std::string_view line);
  bool check_comment(std::string_view comment);
  bool parse_title(Tokens tokens);
  bool parse_config(Tokens tokens);
  bool parse_op(Tokens tokens);
  bool parse_deviation(Tokens tokens);
  bool parse_fields(std::string_view owner, Tokens tokens, std::span<Field> fields);
  bool parse_field(std::string_view owner, std::string_view token, std::span<Field> fields);
  bool parse_number(std::string_view what, std::string_view digits, Field& field);
  bool check_range(const Op& op);

  Scenario scenario_;
  ParseError error_;
  std::vector<std::string_view> tokens_;
  std::vector<unsigned> deviation_lines_;
  std::string why_mms_;
  std::string why_cpus_;
  bool has_title_{false};
  bool has_config_{false};
};

bool Parser::parse(std::string_view text) {
  if (std::string wrong = wrong_encoding(text); !wrong.empty()) {
    error_.line = 1;
    return fail(std::move(wrong));
  }
  while (!text.empty()) {
    ++error_.line;
    const std::size_t end = std::min(text.find('\n'), text.size());
    if (!parse_line(text.substr(0, end))) return false;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  error_.line = std::max(error_.line, 1u);
  if (!has_title_) return fail("the text is empty; expected 'shootdown-scenario 1' first");
  if (!has_config_) return fail("the text ends before its 'config' line");
  normalise(scenario_);
  return true;
}

bool Parser::parse_line(std::string_view line) {
  if ((has_title_ || is_text(line)) && !check_line_end(line)) return false;
  const std::size_t comment = std::min(line.find('#'), line.size());
  return parse_items(line.substr(0, comment)) && check_comment(line.substr(comment));
}

/// Elsewhere than before a line feed a carriage return would hide one line in another.
bool Parser::check_line_end(std::string_view line) {
  const std::size_t found = line.find('\r');
  if (found == std::string_view::npos || found + 1 == line.size()) return true;
  return fail("the line has a carriage return in its middle; end lines with a line feed");
}

/// The rest of a line is checked by what it says.
bool Parser::check_comment(std::string_view comment) {
  while (!comment.empty()) {
    const auto byte = static_cast<unsigned char>(comment[0]);
    const std::size_t size = utf8_character(comment);
    const bool is_control =
        (byte < 0x20 && kBlanks.find(comment[0]) == kBlanks.npos) || byte == 0x7f;
    if (size == 0 || is_control) {
      return fail("the comment has a byte '" + hexadecimal(byte) + "', which is no " +
                  (is_control ? "text; " : "UTF-8; ") + "leave it out");
    }
    comment.remove_prefix(size);
  }
  return true;
}

bool Parser::parse_items(std::string_view line) {
  tokens_.clear();
  while (true) {
    line.remove_prefix(std::min(line.find_first_not_of(kBlanks), line.size()));
    if (line.empty()) break;
    const std::size_t end = std::min(line.find_first_of(kBlanks), line.size());
    tokens_.push_back(line.substr(0, end));
    line.remove_prefix(end);
  }
  if (tokens_.empty()) return true;
  const Tokens tokens(tokens_);
  if (!has_title_) return parse_title(tokens);
  const std::optional<unsigned> item = index_of(tokens[0], kItems);
  if (!item) return fail("unknown item " + quote(tokens[0]) + advice(tokens[0], kItems));
  if (*item == 0) return parse_config(tokens);
  if (!has_config_) return fail("expected 'config' before the first " + quote(tokens[0]));
  return *item == 1 ? parse_op(tokens) : parse_deviation(tokens);
}

bool Parser::parse_title(Tokens tokens) {
  if (tokens[0] != kTextTitle) {
    return fail("expected 'shootdown-scenario 1' first, found " + quote(tokens[0]));
  }
  if (tokens.size() != 2 || tokens[1] != kTextVersion) {
    return fail("expected version 1 after 'shootdown-scenario', found " +
                (tokens.size() < 2 ? "nothing" : quote(tokens.back())));
  }
  has_title_ = true;
  return true;
}

bool Parser::parse_config(Tokens tokens) {
  if (has_config_) return fail("there is more than one 'config' line");
  Header& header = scenario_.header;
  std::vector<Field> fields{
      optional_field("cpus", 1, kMaxCpus, header.cpus),
      optional_field("mms", 1, kMaxMms, header.mms),
      optional_field("pcid", 0, 1, header.pcid ? 1 : 0),
      optional_field("concurrent", 0, 1, header.concurrent ? 1 : 0),
      optional_field("ceiling", 0, kMaxCeiling, header.ceiling),
  };
  fields.push_back({.name = "backend",
                    .first = 0,
                    .last = kBackends - 1,
                    .has_default = true,
                    .value = static_cast<unsigned>(header.backend),
                    .names = kBackendNames});
  if (kMaxCpus == kByteCpus) fields[0].why_last = "reproduce_wide and its like have up to 72";
  const std::size_t first_switch = fields.size();
  for (const HeaderSwitch& one : kHeaderSwitches) {
    fields.push_back(optional_field(one.name, 0, 1, header.*one.field ? 1 : 0));
  }
  if (!parse_fields("config", tokens.subspan(1), fields)) return false;
  header.cpus = fields[0].value;
  header.mms = fields[1].value;
  header.pcid = fields[2].value != 0;
  header.concurrent = fields[3].value != 0;
  header.ceiling = fields[4].value;
  header.backend = static_cast<Backend>(fields[5].value);
  for (std::size_t i = 0; i < kHeaderSwitches.size(); ++i) {
    header.*kHeaderSwitches[i].field = fields[first_switch + i].value != 0;
  }
  why_cpus_ = "config has cpus=" + std::to_string(header.cpus);
  why_mms_ = "config has mms=" + std::to_string(header.mms);
  has_config_ = true;
  return true;
}

bool Parser::parse_op(Tokens tokens) {
  if (tokens.size() < 2 || !tokens[1].ends_with(':')) {
    return fail("expected a number and a colon after 'cpu', as in 'cpu 0:', found " +
                (tokens.size() < 2 ? "nothing" : quote(tokens[1])));
  }
  Field cpu{"CPU", 0, scenario_.header.cpus - 1u, why_cpus_};
  if (!parse_number("CPU ", tokens[1].substr(0, tokens[1].size() - 1), cpu)) return false;
  auto& list = scenario_.ops[cpu.value];
  if (list.full()) {
    return fail("CPU " + std::to_string(cpu.value) + " has more than " +
                std::to_string(kMaxOpsPerCpu) + " operations, the most a CPU can have");
  }
  if (tokens.size() < 3) return fail("expected an operation after " + quote(tokens[1]));
  const std::optional<unsigned> kind = index_of(tokens[2], kOpNames);
  if (!kind) return fail("unknown operation " + quote(tokens[2]) + advice(tokens[2], kOpNames));

  const OpShape& shape = kOpShapes[*kind];
  std::array<Field, 4> fields;
  unsigned used = 0;
  if (shape.uses_mm) fields[used++] = {"mm", 0, scenario_.header.mms - 1u, why_mms_};
  if (shape.uses_page) {
    fields[used++] = {"page", shape.first_page, shape.first_page + shape.pages - 1};
  }
  if (shape.uses_count) fields[used++] = optional_field("count", 1, kSmallPages, 1);
  if (shape.to == Target::page) fields[used++] = {"to", 0, kSmallPages - 1};
  if (shape.to == Target::mm) fields[used++] = {"to", 0, scenario_.header.mms - 1u, why_mms_};
  if (!parse_fields(shape.name, tokens.subspan(3), std::span(fields).first(used))) return false;

  used = 0;
  Op op{.kind = static_cast<OpKind>(*kind)};
  if (shape.uses_mm) op.mm = fields[used++].value;
  if (shape.uses_page) op.page = fields[used++].value;
  if (shape.uses_count) op.count = fields[used++].value;
  if (shape.to != Target::none) op.count = fields[used++].value + 1;
  if (!check_range(op)) return false;
  list.push_back(op);
  return true;
}

bool Parser::check_range(const Op& op) {
  const OpShape& used = shape(op.kind);
  if (op.count <= counts(used, op.page, scenario_.header.mms)) return true;
  if (used.pages == kKernelPages) {
    return fail("count=" + std::to_string(op.count) + " from page=" + std::to_string(op.page) +
                " leaves the kernel pages (" + range(0, kKernelPages - 1) + "); it must be " +
                range(1, max_count(used, op.page)));
  }
  const bool small = op.page < kSmallPages;
  return fail("count=" + std::to_string(op.count) + " from page=" + std::to_string(op.page) +
              " leaves the " + (small ? "small" : "large") + " pages (" +
              (small ? range(0, kSmallPages - 1) : range(kSmallPages, kPages - 1)) +
              "); it must be " + range(1, max_count(used, op.page)));
}

bool Parser::parse_deviation(Tokens tokens) {
  if (scenario_.deviations.full()) {
    return fail("there are more than " + std::to_string(kMaxDeviations) + " deviations");
  }
  if (tokens.size() < 2 || !tokens[1].starts_with('+') || !tokens[1].ends_with(':')) {
    return fail("expected a delay and a colon after 'at', as in 'at +12:', found " +
                (tokens.size() < 2 ? "nothing" : quote(tokens[1])));
  }
  Field delay{"delay", 0, 255};
  if (!parse_number("delay ", tokens[1].substr(1, tokens[1].size() - 2), delay)) return false;
  if (tokens.size() < 3) return fail("expected a deviation after " + quote(tokens[1]));
  const std::optional<unsigned> kind = index_of(tokens[2], kDeviationNames);
  if (!kind) {
    return fail("unknown deviation " + quote(tokens[2]) + advice(tokens[2], kDeviationNames));
  }

  const DeviationShape& shape = kDeviationShapes[*kind];
  const unsigned last = shape.arg_first + shape.arg_count - 1;
  std::array fields{shape.of_mm ? Field{"mm", 0, scenario_.header.mms - 1u, why_mms_}
                                : Field{"cpu", 0, scenario_.header.cpus - 1u, why_cpus_},
                    shape.to_cpu ? Field{shape.arg_name, 0, scenario_.header.cpus - 1u, why_cpus_}
                                 : Field{shape.arg_name, shape.arg_first, last},
                    optional_field(shape.level_name, 1, shape.levels, 1)};
  const std::size_t used = shape.arg_name.empty() ? 1 : shape.levels == 1 ? 2 : 3;
  if (!parse_fields(shape.name, tokens.subspan(3), std::span(fields).first(used))) return false;
  Deviation deviation{.kind = static_cast<EventKind>(*kind)};
  deviation.delay = delay.value;
  deviation.cpu = fields[0].value;
  if (used > 1) {
    const unsigned level = used > 2 ? fields[2].value : 1;
    deviation.arg = shape.arg_of(fields[1].value - shape.arg_first, level);
  }
  scenario_.deviations.push_back(deviation);
  deviation_lines_.push_back(error_.line);
  return true;
}

bool Parser::parse_fields(std::string_view owner, Tokens tokens, std::span<Field> fields) {
  for (const std::string_view token : tokens) {
    if (!parse_field(owner, token, fields)) return false;
  }
  for (const Field& field : fields) {
    if (field.seen || field.has_default) continue;
    return fail(quote(owner) + " needs " + std::string(field.name) + "=" +
                range(field.first, field.last));
  }
  return true;
}

bool Parser::parse_field(std::string_view owner, std::string_view token, std::span<Field> fields) {
  const std::size_t equals = token.find('=');
  if (equals == std::string_view::npos) {
    return fail("expected 'name=value' after " + quote(owner) + ", found " + quote(token));
  }
  const std::string_view name = current_name(token.substr(0, equals));
  const auto field = std::find_if(fields.begin(), fields.end(),
                                  [&](const Field& known) { return known.name == name; });
  if (field == fields.end()) {
    if (fields.empty()) return fail(quote(owner) + " takes no fields, found " + quote(token));
    std::vector<std::string_view> known;
    for (const Field& each : fields) known.push_back(each.name);
    return fail("unknown field " + quote(name) + " of " + quote(owner) + advice(name, known));
  }
  if (field->seen) return fail("field " + quote(name) + " is given twice");
  field->seen = true;
  return parse_number(std::string(name) + "=", token.substr(equals + 1), *field);
}

bool Parser::parse_number(std::string_view what, std::string_view digits, Field& field) {
  if (!field.names.empty()) {
    const std::optional<unsigned> index = index_of(current_name(digits), field.names);
    if (!index) {
      return fail("unknown " + std::string(field.name) + " " + quote(digits) +
                  advice(digits, field.names));
    }
    field.value = *index;
    return true;
  }
  constexpr unsigned kTooLarge = 100000;
  const bool is_number = !digits.empty() && digits.find_first_not_of("0123456789") == digits.npos;
  if (!is_number) {
    return fail("expected a number for " + std::string(field.name) + ", found " + quote(digits));
  }
  unsigned value = 0;
  for (const char digit : digits) value = std::min(value * 10 + (digit - '0'), kTooLarge);
  if (value < field.first || value > field.last) {
    std::string text = std::string(what) + std::string(digits.substr(0, 20)) +
                       " is out of range; it must be " + range(field.first, field.last);
    if (!field.why_last.empty()) text.append(" (").append(field.why_last).append(")");
    return fail(std::move(text));
  }
  field.value = value;
  return true;
}

}  // namespace

std::string print(const ParseError& error) {
  return "line " + std::to_string(error.line) + ": " + error.what;
}

bool parse(std::string_view text, Scenario& scenario, ParseError& error,
           std::vector<unsigned>* deviation_lines) {
  Parser parser;
  if (!parser.parse(text)) {
    error = parser.error();
    return false;
  }
  scenario = parser.scenario();
  if (deviation_lines != nullptr) *deviation_lines = parser.deviation_lines();
  return true;
}

bool is_text(std::string_view contents) {
  while (!contents.empty()) {
    contents.remove_prefix(std::min(contents.find_first_not_of(" \t\r\f\v\n"), contents.size()));
    if (!contents.starts_with('#')) break;
    contents.remove_prefix(std::min(contents.find('\n'), contents.size()));
  }
  return contents.starts_with(kTextTitle);
}

}  // namespace shootdown::fuzz
