#!/usr/bin/python3
"""The benchmark of real cores measures what the machine can measure, and says what it cannot.

usage: benchmark_test.py BENCHMARK

Counts rounds and judges no time: only that each figure is there and that the figures fit together.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import unittest

CPUS, PAGES, TICKS = (1, 2, 4, 8), (1, 10, 30), (0, 200)
NUMBER = r"\d+(?:\.\d+)?"
RATIO = rf"({NUMBER}) \(({NUMBER}) to ({NUMBER})\)"
MEASURED = re.compile(rf" +(\d) +(\d+) +(\d+)   +({NUMBER}) +({NUMBER}) +({NUMBER}) +({NUMBER}|-) +"
                      rf"{RATIO} +{RATIO} +(?:{RATIO}|-)")
NOT_MEASURED = re.compile(r" +(\d) +(\d+) +(\d+)  not measured: (\d) CPUs, and this process may use (\d+)")


def on_one_processor():
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])


class BenchmarkTest(unittest.TestCase):

    def run_benchmark(self, *arguments, **options):
        return subprocess.run([BENCHMARK, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              check=False, **options)

    def rows(self, *arguments, **options):
        run = self.run_benchmark("--rounds", "3", *arguments, **options)
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        return run.stdout.splitlines()[3:]

    def expect_measured(self, row):
        """Returns the row's cell."""
        match = MEASURED.fullmatch(row)
        self.assertIsNotNone(match, row)
        cell = tuple(int(word) for word in match.groups()[:3])
        figures = [float(word) for word in match.groups()[3:] if word not in (None, "-")]
        # With one CPU there is nothing that a line could go to and come back from.
        self.assertEqual(len(figures), 3 + 6 if cell[0] == 1 else 4 + 9, row)
        count = 3 if cell[0] == 1 else 4
        times, ratios = figures[:count], figures[count:]
        for median, low, high in zip(*[iter(ratios)] * 3):
            self.assertLessEqual(low, median, row)
            self.assertLessEqual(median, high, row)
        # Not of ratios: where a thread did not run for a while, one may be printed as 0.00.
        self.assertTrue(all(time > 0 for time in times), row)
        return cell

    def test_every_cell_is_measured_where_there_are_enough_processors(self):
        cells = [self.expect_measured(row) for row in self.rows("--crowd")]
        self.assertEqual(cells, [(cpus, pages, ticks) for cpus in CPUS for pages in PAGES for ticks in TICKS])

    def test_a_cell_that_is_too_large_for_the_machine_is_named(self):
        rows = self.rows(preexec_fn=on_one_processor)
        self.assertEqual(len(rows), len(CPUS) * len(PAGES) * len(TICKS))
        for row in rows:
            if row.split()[0] == "1":
                self.expect_measured(row)
            else:
                match = NOT_MEASURED.fullmatch(row)
                self.assertIsNotNone(match, row)
                self.assertEqual((match[1], "1"), (match[4], match[5]), row)

    def test_the_file_has_the_quartiles_of_times(self):
        with tempfile.TemporaryDirectory() as folder:
            name = os.path.join(folder, "results.json")
            self.rows("--benchmark_filter=cpus:1/pages:10/ticks:200", f"--benchmark_out={name}")
            with open(name, encoding="utf-8") as file:
                figures, = json.load(file)["benchmarks"]
        # 10 invalidations of 200 ticks, of a counter that is not faster than 10 GHz.
        self.assertGreater(figures["serial_low"], 200)
        self.assertLessEqual(figures["serial_low"], figures["serial"])
        self.assertLessEqual(figures["serial"], figures["serial_high"])

    def test_help_and_wrong_options(self):
        run = self.run_benchmark("--help")
        self.assertEqual((run.returncode, run.stderr), (0, ""))
        self.assertTrue(run.stdout.startswith("usage: benchmark"), run.stdout)
        for arguments in (["--rounds"], ["--rounds", "0"], ["--rounds", "many"], ["--nosuch"],
                          ["--benchmark_filter=nosuch"], ["--benchmark_out=/nosuch/file", "--rounds", "1"]):
            run = self.run_benchmark(*arguments)
            self.assertEqual(run.returncode, 2, run.stdout + run.stderr)
            self.assertNotEqual(run.stdout + run.stderr, "", arguments)


if __name__ == "__main__":
    BENCHMARK = sys.argv.pop()
    unittest.main()
