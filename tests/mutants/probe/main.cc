// Prints a constant of the core as the program and a library were compiled with it.
#include <cstdio>

#include "core/broadcast.h"
#include "core/shootdown.h"
#include "tests/mutants/probe/library.h"

int main() {
  std::printf("program %d library %d\n", static_cast<int>(shootdown::kFirstGeneration),
              static_cast<int>(probe::first_generation_of_library()));
  return 0;
}
