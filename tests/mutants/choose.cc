// Which of the mutants runs that this program holds: the one whose name its own begins with, or
// SHOOTDOWN_MUTANT.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "tests/mutants/choice.h"

namespace {

using namespace shootdown::mutants;

constexpr const char* kVariable = "SHOOTDOWN_MUTANT";
constexpr int kCouldNot = 2;

[[noreturn]] void refuse(std::string_view program, const std::string& why) {
  std::fprintf(stderr, "%.*s: %s\n", static_cast<int>(program.size()), program.data(), why.c_str());
  _exit(kCouldNot);
}

/// The mutant that a link such as m42_partial_with_gap_search is named after, or null.
const Named* named_by(std::string_view program) {
  for (const Named& one : all()) {
    if (program.starts_with(std::string(one.name) + "_")) return &one;
  }
  return nullptr;
}

const Named* find(std::string_view name) {
  for (const Named& one : all()) {
    if (name == one.name) return &one;
  }
  return nullptr;
}

/// Before all other constructors, of which some run the core. It never falls back on the clean
/// core: a mutant that is not there would look like one that is not found.
__attribute__((constructor(101))) void choose(int argc, char** argv) {
  std::string_view program = argc > 0 ? argv[0] : "";
  program.remove_prefix(program.find_last_of('/') + 1);
  const char* wanted = std::getenv(kVariable);
  const Named* named = named_by(program);
  if (wanted == nullptr && named == nullptr) {
    refuse(program, std::string("holds all mutants of tests/mutants; say which one runs by ") +
                        kVariable + "=NAME, or none, or run its link NAME_PROGRAM");
  }
  if (wanted == nullptr) {
    choice.mutant = named->mutant;
    return;
  }
  const Named* asked = find(wanted);
  if (asked == nullptr && std::string_view(wanted) != "none") {
    refuse(program, std::string(kVariable) + "=" + wanted + ": tests/mutants has no such patch");
  }
  if (named != nullptr && asked != named) {
    refuse(program, std::string(kVariable) + "=" + wanted + " contradicts the program's name");
  }
  choice.mutant = asked == nullptr ? 0 : asked->mutant;
}

}  // namespace
