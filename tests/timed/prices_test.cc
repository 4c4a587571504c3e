// Price lists: what is read, and what is refused.
#include "hal/timed/prices.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>

namespace shootdown::timed {
namespace {

std::string complete_list() {
  std::string text =
      "# prices\n\nlevel cluster 8 20.5 a source\nlevel all all 100 a source\ncount loads 4 a "
      "source\n";
  unsigned price = 0;
  for (const PriceName& name : price_names()) {
    text += "price " + std::string(name.name) + " " + std::to_string(++price) + ".25 a source\n";
  }
  return text;
}
std::string problem(const std::string& text) { return parse_prices(text).problem; }
std::string with(const std::string& line) { return complete_list() + line + "\n"; }

TEST(PricesTest, ReadsAList) {
  const ParsedPrices parsed = parse_prices(complete_list());
  ASSERT_EQ(parsed.problem, "");
  EXPECT_EQ(parsed.prices.loads, 4u);
  Time expected = 250;
  for (const PriceName& name : price_names()) {
    EXPECT_EQ(parsed.prices.*name.price, expected += 1000) << name.name;
  }
  EXPECT_EQ(parsed.prices.between(0, 7).line, 20'500u);
  EXPECT_EQ(parsed.prices.between(7, 8).line, 100'000u);
}

TEST(PricesTest, SaysWhichLineIsWrong) {
  EXPECT_EQ(problem("price nonsense 1 a source\n"), "line 1: there is no price nonsense");
  EXPECT_EQ(problem("\nlevel all all 1\n"), "line 2: level all has no source");
  EXPECT_EQ(problem("nothing\n"), "line 1: a line begins with level, count, price or #");
  EXPECT_EQ(problem(""), "the last level is that of all CPUs");
}

TEST(PricesTest, EachPriceHasOneValueAndASource) {
  const std::string at = "line " + std::to_string(6 + price_names().size()) + ": ";
  EXPECT_EQ(problem(with("price invlpg 1 a source")), at + "invlpg has two prices");
  EXPECT_EQ(problem(with("count loads 1 a source")), at + "loads has two counts");
  EXPECT_EQ(problem(with("level more all 1 a source")), at + "a level behind that of all CPUs");
  EXPECT_EQ(problem("level all all 1 a\nprice invlpg 1\n"), "line 2: invlpg has no source");
  std::string text = complete_list();
  text.erase(text.find("price pause"),
             text.find('\n', text.find("price pause")) - text.find("price pause"));
  EXPECT_EQ(problem(text), "pause has no price");
}

TEST(PricesTest, RefusesWhatIsNoNumber) {
  for (const char* value : {"x", "1.", "1.2345", "-1", "1,5", "9999999999", ".5"}) {
    EXPECT_EQ(problem("price invlpg " + std::string(value) + " a source\n"),
              "line 1: invlpg needs nanoseconds, with up to three decimals")
        << value;
  }
  EXPECT_EQ(problem("count loads 0 a source\n"),
            "line 1: count loads needs a number that is not 0, and a source");
}

TEST(PricesTest, LevelsLieInEachOther) {
  EXPECT_EQ(problem("level a 8 1 x\nlevel b 12 1 x\n"), "line 2: level b is no multiple of a");
  EXPECT_EQ(problem("level a 8 1 x\nlevel b 8 1 x\n"), "line 2: level b is no multiple of a");
  EXPECT_EQ(problem("level a 0 1 x\n"),
            "line 1: a level is: level NAME CPUS|all NANOSECONDS SOURCE");
}

TEST(PricesTest, TheListsOfTheTreeAreComplete) {
  for (const char* name : {"desktop", "two-socket", "clusters"}) {
    std::ifstream file("hal/timed/prices/" + std::string(name) + ".txt");
    ASSERT_TRUE(file) << name;
    EXPECT_EQ(problem(std::string(std::istreambuf_iterator<char>(file), {})), "") << name;
  }
}

}  // namespace
}  // namespace shootdown::timed
