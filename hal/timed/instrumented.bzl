"""How code is compiled whose accesses a listener of accesses.h hears of."""

# Each load and store is a call, and so are reads of what is written next.
INSTRUMENTED = [
    "-O2",
    "-fsanitize=thread",
    "-mllvm",
    "-tsan-instrument-func-entry-exit=0",
    "-mllvm",
    "-tsan-instrument-read-before-write=1",
]

# Each basic block is a call, too. A kernel has no vector registers, and rounds of a loop are counted one by one.
WITH_BLOCKS = [
    "-fsanitize-coverage=trace-pc",
    "-fno-vectorize",
    "-fno-slp-vectorize",
    "-fno-unroll-loops",
]
