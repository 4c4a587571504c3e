#include "tests/mutants/probe/library.h"

shootdown::Generation probe::first_generation_of_library() { return shootdown::kFirstGeneration; }
