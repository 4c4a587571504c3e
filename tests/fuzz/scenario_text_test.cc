// The text form: lossless, forgiving about blanks, and exact about errors.
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "fuzz/scenario/kinds.h"
#include "fuzz/scenario/random.h"
#include "fuzz/scenario/scenario.h"

namespace shootdown::fuzz {
namespace {

constexpr std::string_view kExample = R"(shootdown-scenario 1
config cpus=4 mms=2 pcid=1 concurrent=1 ceiling=33
# cpu N: what this CPU does, in this order
cpu 0: switch_to mm=0
cpu 0: map mm=0 page=3 count=2
cpu 1: idle
cpu 1: read page=17
# at +N: what deviates from the default schedule, N visible operations after the last
at +12: preempt cpu=1
at +0: fill cpu=2 page=3
at +255: hold cpu=3 steps=256
at +1: evict cpu=0 entry=7
)";

Scenario example() {
  Scenario scenario;
  scenario.ops[0].push_back({OpKind::switch_to, 0, 0, 1});
  scenario.ops[0].push_back({OpKind::map, 0, 3, 2});
  scenario.ops[1].push_back({OpKind::idle, 0, 0, 1});
  scenario.ops[1].push_back({OpKind::read, 0, 17, 1});
  scenario.deviations.push_back({12, EventKind::preempt, 1, 0});
  scenario.deviations.push_back({0, EventKind::fill, 2, 3});
  scenario.deviations.push_back({255, EventKind::hold, 3, 255});
  scenario.deviations.push_back({1, EventKind::evict, 0, 7});
  return scenario;
}

/// The error of a text that must not parse, as people see it.
std::string error_of(std::string_view text) {
  Scenario scenario = example();
  ParseError error;
  if (parse(text, scenario, error)) return "parsed";
  EXPECT_EQ(scenario, example()) << "a failed parse must not touch the scenario";
  return print(error);
}

/// The error of one line after a title and a configuration of four CPUs and two mms.
std::string error_of_line(const std::string& line) {
  return error_of("shootdown-scenario 1\nconfig\n" + line + "\n");
}

TEST(Text, PrintsOneItemALine) { EXPECT_EQ(print(example()), kExample); }

TEST(Text, ParsesWhatItPrints) {
  Scenario scenario;
  ParseError error;
  ASSERT_TRUE(parse(kExample, scenario, error)) << print(error);
  EXPECT_EQ(scenario, example());
}

TEST(Text, PrintsPartsForTimelines) {
  EXPECT_EQ(print(Op{OpKind::protect, 1, 2, 3}), "protect mm=1 page=2 count=3");
  EXPECT_EQ(print(Op{OpKind::leave}), "leave");
  EXPECT_EQ(print(Deviation{9, EventKind::evict, 1, 2}), "evict cpu=1 entry=2");
  EXPECT_EQ(print(Deviation{0, EventKind::fill, 1, 3}), "fill cpu=1 page=3");
  EXPECT_EQ(print(Deviation{0, EventKind::fill, 1, 3 + (2 * kWalkedPages)}),
            "fill cpu=1 page=3 level=3");
  EXPECT_EQ(print(Deviation{0, EventKind::device, 1, 3}), "device mm=1 page=3");
  EXPECT_EQ(name(OpKind::free_table), "free_table");
  EXPECT_EQ(name(OpKind::exit), "exit");
  EXPECT_EQ(name(EventKind::evict), "evict");
}

TEST(Text, RoundTripsWithoutLoss) {
  Random random(5);
  std::vector<std::uint8_t> bytes;
  for (unsigned i = 0; i < 100000; ++i) {
    bytes.resize(random.mostly_small(kMaxBytes));
    for (std::uint8_t& byte : bytes) byte = random.below(256);
    if (bytes.size() >= kHeaderBytes) bytes[kHeaderBytes - 1] %= 40;
    Scenario before;
    decode(bytes, before);
    const std::string text = print(before);
    Scenario after;
    ParseError error;
    ASSERT_TRUE(parse(text, after, error)) << print(error) << "\n" << text;
    ASSERT_EQ(after, before) << text;
    ASSERT_EQ(print(after), text);
  }
}

TEST(Text, BlanksCommentsAndMissingDefaultsAreFine) {
  const std::string text =
      "\n  # why this run matters\nshootdown-scenario\t1 # version\r\n"
      "\tconfig\tmms=3# the rest is default\r\n\r\n"
      "at +3: preempt cpu=0\n  cpu 1:   map page=4   mm=2 \ncpu 0: idle";
  Scenario scenario;
  ParseError error;
  ASSERT_TRUE(parse(text, scenario, error)) << print(error);
  Scenario expected;
  expected.header.mms = 3;
  expected.ops[0].push_back({OpKind::idle, 0, 0, 1});
  expected.ops[1].push_back({OpKind::map, 2, 4, 1});
  expected.deviations.push_back({3, EventKind::preempt, 0, 0});
  EXPECT_EQ(scenario, expected);
}

TEST(Text, IsToldFromBytesByItsFirstWord) {
  EXPECT_TRUE(is_text(kExample));
  EXPECT_TRUE(is_text("# a comment\n\n  # another\n shootdown-scenario 2"));
  EXPECT_FALSE(is_text(""));
  EXPECT_FALSE(is_text("# only a comment"));
  EXPECT_FALSE(is_text(std::string_view("\0\0\0\0", 4)));
}

TEST(Text, TellsWhereItsDeviationsStand) {
  Scenario scenario;
  ParseError error;
  std::vector<unsigned> lines{7};
  ASSERT_TRUE(parse(kExample, scenario, error, &lines)) << print(error);
  EXPECT_EQ(lines, (std::vector<unsigned>{9, 10, 11, 12}));
}

TEST(Text, ACommentIsUtf8) {
  for (const std::string_view good :
       {"\t\x7e", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80",
        "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_EQ(error_of_line("# " + std::string(good)), "parsed");
  }
  for (const std::string_view bad :
       {"\x80", "\xbf", "\xc1\xbf", "\xc2", "\xc2x", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xe1\x80",
        "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff"}) {
    const std::string error = error_of_line("# " + std::string(bad));
    EXPECT_TRUE(error.ends_with("', which is no UTF-8; leave it out")) << error;
  }
  for (const std::string_view bad : {std::string_view("\0", 1), std::string_view("\x1b")}) {
    const std::string error = error_of_line("# " + std::string(bad));
    EXPECT_TRUE(error.ends_with("', which is no text; leave it out")) << error;
  }
}

TEST(TextErrors, OfTheEncoding) {
  EXPECT_EQ(error_of("\xef\xbb\xbf" + std::string(kExample)),
            "line 1: the text begins with a byte-order mark; save it as UTF-8 without one");
  EXPECT_EQ(error_of("\xff\xfes"), "line 1: the text is UTF-16; save it as UTF-8");
  EXPECT_EQ(error_of("\xfe\xffs"), "line 1: the text is UTF-16; save it as UTF-8");
  const std::string middle =
      "the line has a carriage return in its middle; end lines with a line feed";
  EXPECT_EQ(error_of("shootdown-scenario 1\rconfig\r"), "line 1: " + middle);
  EXPECT_EQ(error_of_line("cpu 0: idle\rcpu 0: idle"), "line 3: " + middle);
  EXPECT_EQ(error_of_line("# why\rcpu 0: idle\r"), "line 3: " + middle);
  EXPECT_EQ(error_of_line("cpu 0: idle\r"), "parsed");
}

TEST(TextErrors, OfTheFrame) {
  EXPECT_EQ(error_of(""), "line 1: the text is empty; expected 'shootdown-scenario 1' first");
  EXPECT_EQ(error_of("# x\n\n"),
            "line 2: the text is empty; expected 'shootdown-scenario 1' first");
  EXPECT_EQ(error_of("cpu 0: idle"), "line 1: expected 'shootdown-scenario 1' first, found 'cpu'");
  EXPECT_EQ(error_of("shootdown-scenario"),
            "line 1: expected version 1 after 'shootdown-scenario', found nothing");
  EXPECT_EQ(error_of("shootdown-scenario 2"),
            "line 1: expected version 1 after 'shootdown-scenario', found '2'");
  EXPECT_EQ(error_of("shootdown-scenario 1 2"),
            "line 1: expected version 1 after 'shootdown-scenario', found '2'");
  EXPECT_EQ(error_of("shootdown-scenario 1\n"), "line 1: the text ends before its 'config' line");
  EXPECT_EQ(error_of("shootdown-scenario 1\ncpu 0: idle"),
            "line 2: expected 'config' before the first 'cpu'");
  EXPECT_EQ(error_of_line("config"), "line 3: there is more than one 'config' line");
  EXPECT_EQ(error_of_line("cpus 0: idle"), "line 3: unknown item 'cpus'; did you mean 'cpu'?");
  EXPECT_EQ(error_of_line("hello"),
            "line 3: unknown item 'hello'; expected one of config, cpu, at");
}

TEST(TextErrors, OfTheConfiguration) {
  const std::string title = "shootdown-scenario 1\n";
  const std::string more_cpus = " (reproduce_wide and its like have up to 72)";
  EXPECT_EQ(error_of(title + "config cpus=9"),
            "line 2: cpus=9 is out of range; it must be 1 .. 8" + more_cpus);
  EXPECT_EQ(error_of(title + "config cpus=0"),
            "line 2: cpus=0 is out of range; it must be 1 .. 8" + more_cpus);
  EXPECT_EQ(error_of(title + "config ceiling=99999999999999999999999"),
            "line 2: ceiling=99999999999999999999 is out of range; it must be 0 .. 33");
  EXPECT_EQ(error_of(title + "config pcid=yes"), "line 2: expected a number for pcid, found 'yes'");
  EXPECT_EQ(error_of(title + "config pcid=-1"), "line 2: expected a number for pcid, found '-1'");
  EXPECT_EQ(error_of(title + "config pcid="), "line 2: expected a number for pcid, found ''");
  EXPECT_EQ(error_of(title + "config mms=1 mms=1"), "line 2: field 'mms' is given twice");
  EXPECT_EQ(error_of(title + "config cpu=1"),
            "line 2: unknown field 'cpu' of 'config'; did you mean 'cpus'?");
  EXPECT_EQ(error_of(title + "config pcid"),
            "line 2: expected 'name=value' after 'config', found 'pcid'");
}

std::string all_operations() {
  std::string names;
  for (const OpShape& shape : kOpShapes) {
    names.append(names.empty() ? "" : ", ").append(shape.name);
  }
  return names;
}

TEST(TextErrors, OfOperations) {
  EXPECT_TRUE(all_operations().starts_with("switch_to, idle, resume, leave, read, write, map, "));
  EXPECT_EQ(error_of_line("cpu 0: move mm=0 page=1"), "line 3: 'move' needs to=0 .. 15");
  EXPECT_EQ(error_of_line("cpu 0: fork mm=0 to=2"),
            "line 3: to=2 is out of range; it must be 0 .. 1 (config has mms=2)");
  EXPECT_EQ(error_of_line("cpu 0: split mm=0 page=1"),
            "line 3: page=1 is out of range; it must be 16 .. 17");

  EXPECT_EQ(error_of_line("cpu 0: unmaap mm=0 page=1"),
            "line 3: unknown operation 'unmaap'; did you mean 'unmap'?");
  EXPECT_EQ(error_of_line("cpu 0: dance"),
            "line 3: unknown operation 'dance'; expected one of " + all_operations());
  EXPECT_EQ(error_of_line("cpu 4: idle"),
            "line 3: CPU 4 is out of range; it must be 0 .. 3 (config has cpus=4)");
  EXPECT_EQ(error_of_line("cpu x: idle"), "line 3: expected a number for CPU, found 'x'");
  EXPECT_EQ(error_of_line("cpu 0 idle"),
            "line 3: expected a number and a colon after 'cpu', as in 'cpu 0:', found '0'");
  EXPECT_EQ(error_of_line("cpu"),
            "line 3: expected a number and a colon after 'cpu', as in 'cpu 0:', found nothing");
  EXPECT_EQ(error_of_line("cpu 0:"), "line 3: expected an operation after '0:'");
  EXPECT_EQ(error_of_line("cpu 0: idle now=1"), "line 3: 'idle' takes no fields, found 'now=1'");
  EXPECT_EQ(error_of_line("cpu 0: read mm=0 page=1"),
            "line 3: unknown field 'mm' of 'read'; expected one of page");
  EXPECT_EQ(error_of_line("cpu 0: map mm=0"), "line 3: 'map' needs page=0 .. 17");
  EXPECT_EQ(error_of_line("cpu 0: map page=0 mm=2"),
            "line 3: mm=2 is out of range; it must be 0 .. 1 (config has mms=2)");
  EXPECT_EQ(error_of_line("cpu 0: map page=18 mm=0"),
            "line 3: page=18 is out of range; it must be 0 .. 17");
  EXPECT_EQ(error_of_line("cpu 0: map page=0 mm=0 count=0"),
            "line 3: count=0 is out of range; it must be 1 .. 16");
  EXPECT_EQ(error_of_line("cpu 0: map page=14 mm=0 count=3"),
            "line 3: count=3 from page=14 leaves the small pages (0 .. 15); it must be 1 .. 2");
  EXPECT_EQ(error_of_line("cpu 0: map page=17 mm=0 count=2"),
            "line 3: count=2 from page=17 leaves the large pages (16 .. 17); it must be 1");
  std::string many;
  for (unsigned i = 0; i < kMaxOpsPerCpu; ++i) many += "cpu 3: idle\n";
  EXPECT_EQ(error_of_line(many), "parsed");
  EXPECT_EQ(error_of_line(many + "cpu 3: idle"),
            "line 19: CPU 3 has more than 16 operations, the most a CPU can have");
}

TEST(TextErrors, OfDeviations) {
  EXPECT_EQ(error_of_line("at 12: preempt cpu=0"),
            "line 3: expected a delay and a colon after 'at', as in 'at +12:', found '12:'");
  EXPECT_EQ(error_of_line("at"),
            "line 3: expected a delay and a colon after 'at', as in 'at +12:', found nothing");
  EXPECT_EQ(error_of_line("at +:"), "line 3: expected a number for delay, found ''");
  EXPECT_EQ(error_of_line("at +256: preempt cpu=0"),
            "line 3: delay 256 is out of range; it must be 0 .. 255");
  EXPECT_EQ(error_of_line("at +99999999999: preempt cpu=0"),
            "line 3: delay 99999999999 is out of range; it must be 0 .. 255");
  EXPECT_EQ(error_of_line("at +4294967297: preempt cpu=0"),
            "line 3: delay 4294967297 is out of range; it must be 0 .. 255");
  EXPECT_EQ(error_of_line("at +-1: preempt cpu=0"),
            "line 3: expected a number for delay, found '-1'");
  EXPECT_EQ(error_of_line("at +1: preempt cpu=18446744073709551616"),
            "line 3: cpu=18446744073709551616 is out of range; it must be 0 .. 3 (config has "
            "cpus=4)");
  EXPECT_EQ(error_of_line("at +1: preempt cpu=0 cpu=0"), "line 3: field 'cpu' is given twice");
  EXPECT_EQ(error_of_line("at +1:"), "line 3: expected a deviation after '+1:'");
  EXPECT_EQ(error_of_line("at +1: preemt cpu=0"),
            "line 3: unknown deviation 'preemt'; did you mean 'preempt'?");
  EXPECT_EQ(error_of_line("at +1: preempt"), "line 3: 'preempt' needs cpu=0 .. 3");
  EXPECT_EQ(error_of_line("at +1: preempt cpu=0 page=1"),
            "line 3: unknown field 'page' of 'preempt'; expected one of cpu");
  EXPECT_EQ(error_of_line("at +1: hold cpu=0"), "line 3: 'hold' needs steps=1 .. 256");
  EXPECT_EQ(error_of_line("at +1: hold cpu=0 steps=0"),
            "line 3: steps=0 is out of range; it must be 1 .. 256");
  EXPECT_EQ(error_of_line("at +1: fill cpu=0 page=22"),
            "line 3: page=22 is out of range; it must be 0 .. 21");
  EXPECT_EQ(error_of_line("at +1: fill cpu=0 page=2 level=5"),
            "line 3: level=5 is out of range; it must be 1 .. 4");
  EXPECT_EQ(error_of_line("at +1: evict cpu=4 entry=0"),
            "line 3: cpu=4 is out of range; it must be 0 .. 3 (config has cpus=4)");
  std::string many;
  for (unsigned i = 0; i < kMaxDeviations; ++i) many += "at +1: preempt cpu=0\n";
  EXPECT_EQ(error_of_line(many), "parsed");
  EXPECT_EQ(error_of_line(many + "at +1: preempt cpu=0"),
            "line 67: there are more than 64 deviations");
}

TEST(TextErrors, QuoteWhatIsUnprintableOrLong) {
  EXPECT_EQ(error_of_line("cpu 0: \x01\xff"),
            "line 3: unknown operation '\\x01\\xff'; expected one of " + all_operations());
  const std::string error = error_of_line(std::string(100000, 'a'));
  EXPECT_TRUE(error.starts_with("line 3: unknown item 'aaaa")) << error;
  EXPECT_LT(error.size(), 120u);
}

/// The time of a parse grows as the text does: a text of the greatest size is read in a moment,
/// with any content.
TEST(Text, LargeTextsOfOneKindAreReadOrRefused) {
  constexpr std::size_t kSize = std::size_t{1} << 20;
  for (const std::string_view piece :
       {"\n", " ", "#", "# \n", "a", "a ", "1", "=", "config ", "pcid=1 ", "cpu 0: ", "at +1: "}) {
    std::string text = "shootdown-scenario 1\nconfig\n";
    while (text.size() < kSize) text += piece;
    Scenario scenario;
    ParseError error;
    if (!parse(text, scenario, error)) EXPECT_LT(error.what.size(), 2000U) << piece;
    // The same without a title.
    text.clear();
    while (text.size() < kSize) text += piece;
    EXPECT_FALSE(parse(text, scenario, error)) << piece;
    EXPECT_LT(error.what.size(), 200U) << piece;
  }
}

/// Random edits of a valid text reach deeper than random bytes.
TEST(Text, GarbageNeverCrashesAndNamesALine) {
  Random random(6);
  constexpr std::string_view kPieces = "0123456789 :=+#\n\tcpuatmapfill\x80\xff";
  unsigned parsed = 0;
  for (unsigned i = 0; i < 100000; ++i) {
    std::string text(kExample);
    if (random.chance(1, 16)) text.clear();
    for (unsigned edits = 1 + random.mostly_small(15); edits > 0; --edits) {
      const unsigned place = random.below(text.size() + 1);
      const unsigned removed = random.mostly_small(8);
      std::string added;
      for (unsigned n = random.mostly_small(8); n > 0; --n) {
        added += random.chance(1, 2) ? kPieces[random.below(kPieces.size())]
                                     : static_cast<char>(random.below(256));
      }
      text.replace(place, removed, added);
    }
    Scenario scenario;
    ParseError error;
    if (!parse(text, scenario, error)) {
      ASSERT_GE(error.line, 1u);
      ASSERT_FALSE(error.what.empty());
      continue;
    }
    ++parsed;
    Scenario again;
    ASSERT_TRUE(parse(print(scenario), again, error)) << print(error);
    ASSERT_EQ(again, scenario) << text;
  }
  EXPECT_GT(parsed, 100u);
}

TEST(ScenarioText, NamesOfEarlierVersionsAreReadAndTheNewOnesWritten) {
  const std::string old_text =
      "shootdown-scenario 1\nconfig by_loaded_space=1 cxx=1 backend=uv\ncpu 0: idle\n";
  Scenario scenario;
  ParseError error;
  ASSERT_TRUE(parse(old_text, scenario, error)) << print(error);
  const std::string text = print(scenario);
  for (const char* now : {"by_loaded_mm=1", "compiler_reordering=1", "backend=uv_bau"}) {
    EXPECT_NE(text.find(now), std::string::npos) << text;
  }
  EXPECT_FALSE(parse("shootdown-scenario 1\nconfig cxx=1 compiler_reordering=1\n", scenario, error))
      << "one switch by both of its names";
}

}  // namespace
}  // namespace shootdown::fuzz
