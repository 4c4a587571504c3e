"""How code is compiled for the runtime."""

# Accesses are calls, and none is optimised away that another CPU could notice. No run-time library is linked.
INSTRUMENTED = [
    "-O2",
    "-fno-builtin",
    "-fsanitize=thread",
    "-mllvm",
    "-tsan-instrument-func-entry-exit=0",
    "-mllvm",
    "-tsan-instrument-read-before-write=1",
    "-mllvm",
    "-tsan-distinguish-volatile=1",
]
