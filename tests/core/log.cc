#include "tests/core/log.h"

#include <algorithm>
#include <array>
#include <sstream>
#include <utility>

namespace shootdown::test {
namespace {

const char* order_name(std::memory_order order) {
  switch (order) {
    case std::memory_order_relaxed:
      return "relaxed";
    case std::memory_order_consume:
      return "consume";
    case std::memory_order_acquire:
      return "acquire";
    case std::memory_order_release:
      return "release";
    case std::memory_order_acq_rel:
      return "acq_rel";
    case std::memory_order_seq_cst:
      return "seq_cst";
  }
  return "?";
}

/// How many letters have to be put in, taken out or replaced to make one text of the other.
std::size_t distance(const std::string& a, const std::string& b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, replaced}));
    }
  }
  return row[b.size()];
}

std::string text_of(const Label& label) {
  return '"' + label.what + '"' + (label.cpu ? " of CPU " + std::to_string(*label.cpu) : "");
}

testing::AssertionResult failure(const std::string& what, std::initializer_list<Label> marked) {
  return testing::AssertionFailure() << what << "\n" << log_text(marked);
}

}  // namespace

std::optional<std::size_t> Moment::find() const {
  std::optional<std::size_t> found;
  for (std::size_t i = 0; i < recorder.log.size(); ++i) {
    if (!label.matches(recorder.log[i])) continue;
    found = i;
    if (!is_last) break;
  }
  return found;
}

std::string Moment::text() const { return (is_last ? "the last " : "the first ") + text_of(label); }

std::string log_text(std::initializer_list<Label> marked) {
  std::ostringstream out;
  out << "The log has " << recorder.log.size() << " entries";
  for (std::size_t i = 0; i < recorder.log.size(); ++i) {
    const Entry& entry = recorder.log[i];
    const bool mark = std::any_of(marked.begin(), marked.end(),
                                  [&](const Label& label) { return label.matches(entry); });
    out << (i == 0 ? ":\n" : "\n") << (mark ? "> " : "  ") << i << " cpu" << entry.cpu << " "
        << entry.what;
    if (entry.value != 0) out << " = 0x" << std::hex << entry.value << std::dec;
    if (entry.order != std::memory_order_relaxed) out << " (" << order_name(entry.order) << ")";
  }
  return out.str();
}

std::string unknown(const std::string& what) {
  if (recorder.can_note(what)) return {};
  std::vector<std::pair<std::size_t, std::string>> labels;
  for (const std::string& label : recorder.labels()) {
    labels.emplace_back(distance(what, label), label);
  }
  std::sort(labels.begin(), labels.end());
  constexpr std::size_t kNear = 4;
  std::string text = "Nothing can write \"" + what + "\" down. Labels like it:";
  for (std::size_t i = 0; i < std::min(kNear, labels.size()); ++i) {
    text += (i == 0 ? " \"" : ", \"") + labels[i].second + '"';
  }
  return text;
}

std::size_t count(const Label& label) {
  if (const std::string text = unknown(label.what); !text.empty()) ADD_FAILURE() << text;
  return static_cast<std::size_t>(
      std::count_if(recorder.log.begin(), recorder.log.end(),
                    [&](const Entry& entry) { return label.matches(entry); }));
}

std::size_t index_of(const Moment& moment) {
  const std::optional<std::size_t> found = moment.find();
  if (!found) {
    ADD_FAILURE() << moment.text() << " is not in the log. " << unknown(moment.label.what) << "\n"
                  << log_text();
  }
  return found.value_or(recorder.log.size());
}

Entry entry_at(const Moment& moment) {
  const std::size_t index = index_of(moment);
  return index < recorder.log.size() ? recorder.log[index] : Entry{};
}

std::vector<std::uint64_t> values(const std::string& what, std::optional<CpuId> cpu) {
  if (const std::string text = unknown(what); !text.empty()) ADD_FAILURE() << text;
  std::vector<std::uint64_t> found;
  for (const Entry& entry : recorder.log) {
    if (Label(what, cpu).matches(entry)) found.push_back(entry.value);
  }
  return found;
}

bool is(const Entry& entry, const std::string& what) {
  if (entry.what == what) return true;
  if (const std::string text = unknown(what); !text.empty()) ADD_FAILURE() << text;
  return false;
}

testing::AssertionResult happens_before(const char* /*a*/, const char* /*b*/, const Moment& a,
                                        const Moment& b) {
  for (const Moment& moment : {a, b}) {
    if (const std::string text = unknown(moment.label.what); !text.empty()) {
      return testing::AssertionFailure() << text;
    }
    if (!moment.find()) return failure(moment.text() + " is not in the log.", {a.label, b.label});
  }
  if (*a.find() < *b.find()) return testing::AssertionSuccess();
  return failure(a.text() + " (entry " + std::to_string(*a.find()) + ") is not before " + b.text() +
                     " (entry " + std::to_string(*b.find()) + ").",
                 {a.label, b.label});
}

testing::AssertionResult happens_never(const char* /*labels*/, const std::vector<Label>& labels) {
  for (const Label& label : labels) {
    const testing::AssertionResult result = happens_times("", "", 0, label);
    if (!result) return result;
  }
  return testing::AssertionSuccess();
}

testing::AssertionResult happens_times(const char* /*times*/, const char* /*label*/,
                                       std::size_t times, const Label& label) {
  if (const std::string text = unknown(label.what); !text.empty()) {
    return testing::AssertionFailure() << text;
  }
  const std::size_t found = count(label);
  if (found == times) return testing::AssertionSuccess();
  return failure(text_of(label) + " is in the log " + std::to_string(found) + " times, not " +
                     std::to_string(times) + ".",
                 {label});
}

testing::AssertionResult has_order(const char* /*moment*/, const char* /*order*/,
                                   const Moment& moment, std::memory_order order) {
  if (const std::string text = unknown(moment.label.what); !text.empty()) {
    return testing::AssertionFailure() << text;
  }
  const std::optional<std::size_t> found = moment.find();
  if (!found) return failure(moment.text() + " is not in the log.", {moment.label});
  const std::memory_order has = recorder.log[*found].order;
  if (has == order) return testing::AssertionSuccess();
  return failure(moment.text() + " (entry " + std::to_string(*found) + ") is " + order_name(has) +
                     ", not " + order_name(order) + ".",
                 {moment.label});
}

}  // namespace shootdown::test
