// Stands in front of libstdc++'s configuration in freestanding builds. Without threads and futexes
// <atomic> no longer pulls in <unistd.h>, <pthread.h> and <stdio.h>, whose global names (pause,
// puts, write) clash with those of a kernel.
#pragma once

#include_next <bits/c++config.h>

#undef _GLIBCXX_HAS_GTHREADS
#undef _GLIBCXX_HAVE_LINUX_FUTEX
