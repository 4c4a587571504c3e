// The directory by itself: when a line moves.
#include "hal/timed/directory.h"

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

namespace shootdown::timed {
namespace {

class DirectoryTest : public testing::Test {
 protected:
  DirectoryTest() { lines.name(&words[0], sizeof(words), "words"); }

  /// Words are a line apart.
  void read(CpuId cpu, unsigned word = 0) {
    lines.access(cpu, &words[std::size_t{word} * 8], 8, false);
  }
  void write(CpuId cpu, unsigned word = 0) {
    lines.access(cpu, &words[std::size_t{word} * 8], 8, true);
  }
  std::uint64_t moves() {
    const auto found = lines.moves().find("words");
    return found == lines.moves().end() ? 0 : found->second.count;
  }

  Directory lines;
  alignas(kCacheLine) std::array<std::uint64_t, 32> words{};
};

TEST_F(DirectoryTest, ALineFromMemoryIsNoMove) {
  lines.start();
  read(0);
  write(0);
  write(1, 1);
  EXPECT_EQ(moves(), 0u);
}

TEST_F(DirectoryTest, ALineMovesToAReaderOnce) {
  write(0);
  lines.start();
  read(1);
  read(1);
  read(0);
  EXPECT_EQ(moves(), 1u) << "the CPU that wrote it still has a copy";
}

TEST_F(DirectoryTest, AWriterTakesItFromAllThatShareIt) {
  write(0);
  read(1);
  read(2);
  lines.start();
  write(0);
  EXPECT_EQ(moves(), 1u) << "it holds the line, and not alone";
  write(0);
  EXPECT_EQ(moves(), 1u);
  read(1);
  read(2);
  EXPECT_EQ(moves(), 3u);
}

TEST_F(DirectoryTest, AnAccessToTwoLinesMovesBoth) {
  write(0, 0);
  write(0, 1);
  lines.start();
  lines.access(1, &words[7], 16, false);
  EXPECT_EQ(moves(), 2u);
  EXPECT_EQ(lines.moves().at("words").lines.size(), 2u);
}

TEST_F(DirectoryTest, TellsWhichLinesTwoCpusContendFor) {
  for (const unsigned word : {0, 1, 2}) write(0, word);
  lines.start();
  read(1, 0);   // from CPU 0 to CPU 1
  write(2, 1);  // from CPU 0 to CPU 2
  read(0, 2);   // stays
  EXPECT_EQ(lines.between(0, 1).at("words"), 1u);
  EXPECT_EQ(lines.between(0, 2).at("words"), 1u);
  EXPECT_TRUE(lines.between(1, 2).empty());
}

TEST_F(DirectoryTest, ALineThatIsSharedComesFromNoCpuInParticular) {
  write(0);
  read(1);
  lines.start();
  read(2);
  EXPECT_EQ(moves(), 1u);
  EXPECT_TRUE(lines.between(0, 2).empty()) << "the writer has it no longer for itself";
}

TEST_F(DirectoryTest, EachCountBeginsAnew) {
  lines.start();
  write(0);
  write(1);
  EXPECT_EQ(lines.between(0, 1).at("words"), 1u);
  lines.start();
  write(1);
  EXPECT_EQ(moves(), 0u);
  EXPECT_TRUE(lines.between(0, 1).empty());
}

TEST_F(DirectoryTest, IgnoresWhatHasNoNameAndWhatIsNotCounted) {
  std::uint64_t other = 0;
  write(0);
  read(1);
  lines.start();
  lines.access(0, &other, sizeof(other), true);
  lines.access(1, &other, sizeof(other), false);
  lines.stop();
  write(0);
  EXPECT_TRUE(lines.moves().empty());
}

TEST_F(DirectoryTest, TheFirstNameOfALineStays) {
  alignas(kCacheLine) std::array<std::uint64_t, 24> object{};
  lines.name(&object[9], 8, "word");
  lines.name(object.data(), sizeof(object), "object", /*numbered=*/true);
  lines.start();
  for (unsigned line = 0; line < 3; ++line) {
    lines.access(0, &object[std::size_t{line} * 8], 8, true);
    lines.access(1, &object[std::size_t{line} * 8], 8, true);
  }
  EXPECT_EQ(lines.used(),
            (std::map<std::string, unsigned>{{"object", 1}, {"object[2]", 1}, {"word", 1}}));
}

}  // namespace
}  // namespace shootdown::timed
