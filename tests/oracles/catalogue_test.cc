// The oracles' catalogue is complete, and fuzz/README.md says what it says.
#include "fuzz/oracles/reports/catalogue.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>

namespace shootdown::fuzz {
namespace {

std::string name_of(std::size_t index) {
  return index + 1 == kOracles ? "ORDER" : "O" + std::to_string(index + 1);
}

TEST(Catalogue, NamesEachOracleByItsNumberAndSaysWhatItPromises) {
  for (std::size_t i = 0; i < kOracles; ++i) {
    EXPECT_EQ(kCatalogue[i].kind.name, name_of(i));
    EXPECT_FALSE(kCatalogue[i].kind.promise.empty()) << name_of(i);
    EXPECT_EQ(kind_of(static_cast<Oracle>(i + 1)), &kCatalogue[i].kind);
    EXPECT_EQ(kind_named(name_of(i)), &kCatalogue[i].kind);
  }
}

TEST(Catalogue, KnowsTheMachinesOwnKindsToo) {
  EXPECT_EQ(kind_named("CHECK"), &host::kCheck);
  EXPECT_EQ(kind_named("FAULT"), &host::kFault);
  for (const char* name : {"", "O", "O0", "O99", "o1", "none"}) {
    EXPECT_EQ(kind_named(name), nullptr) << name;
  }
}

/// The rows of the README's table, without a row's end: "| O1 | a flush returns ...".
std::string table() {
  std::ifstream file("fuzz/README.md");
  std::string rows;
  bool inside = false;
  for (std::string line; std::getline(file, line);) {
    if (line == "| oracle | fires when |") inside = true;
    if (inside && line.empty()) break;
    if (inside && line.starts_with("| O")) rows += line + "\n";
  }
  return rows;
}

TEST(Catalogue, IsWhatTheReadmeSays) {
  const std::string rows = table();
  ASSERT_FALSE(rows.empty()) << "fuzz/README.md has no table of oracles";
  std::string left = rows;
  for (std::size_t i = 0; i < kOracles; ++i) {
    if (kCatalogue[i].fires.empty()) continue;  // no run can tell
    const std::string text(kCatalogue[i].fires);
    // A row is one oracle's, or two's: "| O10, O11 | text of O10; text of O11 |".
    const std::string alone = "| " + name_of(i) + " | " + text + " |\n";
    std::string row = alone;
    if (rows.find(alone) == std::string::npos && i + 1 < kOracles) {
      row = "| " + name_of(i) + ", " + name_of(i + 1) + " | " + text + "; " +
            std::string(kCatalogue[i + 1].fires) + " |\n";
      ++i;
    }
    const std::size_t found = left.find(row);
    EXPECT_NE(found, std::string::npos)
        << "the table in fuzz/README.md lacks this row; write it there, or change the text in "
           "fuzz/oracles/reports/catalogue.cc:\n"
        << alone;
    if (found != std::string::npos) left.erase(found, row.size());
  }
  EXPECT_EQ(left, "")
      << "rows of fuzz/README.md that fuzz/oracles/reports/catalogue.cc does not know";
}

}  // namespace
}  // namespace shootdown::fuzz
