// Prints a constant of the core as the program, a library and the model were compiled with it.
#include <cstdio>

#include "core/broadcast.h"
#include "core/shootdown.h"
#include "hal/host/hal.h"
#include "tests/mutants/probe/library.h"

int main() {
  const shootdown::Mm<shootdown::host::HostHal> mm{};
  std::printf("program %d library %d\n", static_cast<int>(shootdown::kFirstGeneration),
              static_cast<int>(probe::first_generation_of_library()));
  std::printf("mm %d\n", static_cast<int>(mm.tlb_gen.peek()));
  return 0;
}
