// The main function of a program of Google Benchmark's, with this project's help and exit status.
#pragma once

#include <benchmark/benchmark.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string_view>

#include "hal/host/command_line.h"

namespace shootdown::host {

/// Runs the benchmarks that are registered, and returns the exit status. `table` may be null.
inline int run_benchmarks(int argc, char** argv, benchmark::BenchmarkReporter* table) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return kCouldNot;
  if (benchmark::RunSpecifiedBenchmarks(table) == 0) return kCouldNot;
  benchmark::Shutdown();
  return 0;
}

/// Prints `help` if that is asked for, else does `run(argc, argv)`. Returns the exit status.
template <class Run>
int benchmark_program(int argc, char** argv, const char* help, Run&& run) {
  static bool ended = false;
  // The library ends the process with status 1 where an option or its output file is wrong.
  std::atexit([] {
    if (ended) return;
    std::fflush(nullptr);
    std::_Exit(kCouldNot);
  });
  go_where_the_user_stands();
  int status = 0;
  if (argc == 2 && std::string_view(argv[1]) == "--help") {
    std::fputs(help, stdout);
  } else {
    status = run(argc, argv);
    std::cout.flush();
  }
  ended = true;
  return finish("benchmark", status);
}

}  // namespace shootdown::host
