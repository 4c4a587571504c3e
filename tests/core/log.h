// Questions to the recording HAL's log. An answer that a test did not expect prints the whole log;
// a label that nothing can write down is refused, since "it never happened" would always be true of
// it.
//
//   EXPECT_BEFORE("add mm.tlb_gen", "load mm.cpu_mask");      // the first of each
//   EXPECT_BEFORE(last("pause"), first("invlpg", 1));         // of CPU 1 only
//   EXPECT_NEVER("send interrupt") << "the flush comes later";
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include "tests/core/recording_hal.h"

namespace shootdown::test {

/// Entries of the log that have one label; of any CPU unless one is named.
struct Label {
  std::string what;
  std::optional<CpuId> cpu{};

  // Implicit, so that a plain string is a label in the macros below.
  Label(const char* text, std::optional<CpuId> by = {})  // NOLINT(google-explicit-constructor)
      : Label(std::string(text), by) {}
  Label(std::string text, std::optional<CpuId> by = {})  // NOLINT(google-explicit-constructor)
      : what(std::move(text)), cpu(by) {}
  [[nodiscard]] bool matches(const Entry& entry) const {
    return entry.what == what && (!cpu || entry.cpu == *cpu);
  }
};

/// One entry of the log: the first with its label, or the last.
struct Moment {
  Label label;
  bool is_last{false};

  // Implicit: a plain string stands for the first entry.
  Moment(const char* text) : label(text) {}         // NOLINT(google-explicit-constructor)
  Moment(const std::string& text) : label(text) {}  // NOLINT(google-explicit-constructor)
  Moment(Label of, bool last) : label(std::move(of)), is_last(last) {}
  [[nodiscard]] std::optional<std::size_t> find() const;
  [[nodiscard]] std::string text() const;
};

inline Moment first(const std::string& what, std::optional<CpuId> cpu = {}) {
  return {Label(what, cpu), false};
}
inline Moment last(const std::string& what, std::optional<CpuId> cpu = {}) {
  return {Label(what, cpu), true};
}

/// The whole log, an entry a line with its number. Entries with one of `marked` begin with ">".
std::string log_text(std::initializer_list<Label> marked = {});

/// Empty if the recorder can write `what` down, otherwise a text that names labels like it.
std::string unknown(const std::string& what);

/// How often a label is in the log.
std::size_t count(const Label& label);
inline std::size_t count(const std::string& what, CpuId cpu) { return count(Label(what, cpu)); }

/// Where the entry is in the log, and the entry itself. It must be there.
std::size_t index_of(const Moment& moment);
Entry entry_at(const Moment& moment);

/// The values of `what`, in order.
std::vector<std::uint64_t> values(const std::string& what, std::optional<CpuId> cpu = {});

/// Whether a hook is looking at an entry with this label.
bool is(const Entry& entry, const std::string& what);

// What the macros call. Their first arguments are the texts of the others.
testing::AssertionResult happens_before(const char*, const char*, const Moment& a, const Moment& b);
testing::AssertionResult happens_never(const char*, const std::vector<Label>& labels);
testing::AssertionResult happens_times(const char*, const char*, std::size_t times,
                                       const Label& label);
testing::AssertionResult has_order(const char*, const char*, const Moment& moment,
                                   std::memory_order order);

/// Both are in the log, the first one earlier: `EXPECT_BEFORE("fence", last("load online", 1))`.
#define EXPECT_BEFORE(a, b) EXPECT_PRED_FORMAT2(::shootdown::test::happens_before, a, b)

/// The label, perhaps of one CPU, is not in the log: `EXPECT_NEVER("pause")`,
/// `EXPECT_NEVER("invlpg", 1)`.
#define EXPECT_NEVER(...)               \
  EXPECT_PRED_FORMAT1(                  \
      ::shootdown::test::happens_never, \
      (std::vector<::shootdown::test::Label>{::shootdown::test::Label(__VA_ARGS__)}))

/// None of several labels is in the log: `EXPECT_NONE_OF("pause", "send interrupt")`.
#define EXPECT_NONE_OF(...)                             \
  EXPECT_PRED_FORMAT1(::shootdown::test::happens_never, \
                      (std::vector<::shootdown::test::Label>{__VA_ARGS__}))

/// The label is in the log so many times: `EXPECT_COUNT(2, "invlpg")`, `EXPECT_ONCE("invlpg", 1)`.
#define EXPECT_COUNT(times, ...)                               \
  EXPECT_PRED_FORMAT2(::shootdown::test::happens_times, times, \
                      ::shootdown::test::Label(__VA_ARGS__))
#define EXPECT_ONCE(...) EXPECT_COUNT(1, __VA_ARGS__)

/// The entry has this memory order: `EXPECT_ORDER("load mm.tlb_gen", std::memory_order_acquire)`.
#define EXPECT_ORDER(moment, order) EXPECT_PRED_FORMAT2(::shootdown::test::has_order, moment, order)

}  // namespace shootdown::test
