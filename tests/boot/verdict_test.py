"""The verdict on planted consoles: only a complete and clean one passes."""

import unittest

from bochs_runner import bench_table, linux_figures
from bochs_runner import verdict

GOOD = """\
shootdown test kernel
# cpus=4 apic=x2apic flush=concurrent break=none
KTAP version 1
1..3
ok 1 first
# a remark
ok 2 second # SKIP needs 8 CPUs
ok 3 third: with a colon
# totals: 2 passed, 0 failed, 1 skipped
"""

EXPECTED = {"cpus": "4", "flush": "concurrent"}


def judge(text, exit_status=0):
    return verdict.problems(verdict.parse(text), EXPECTED, exit_status, limit_seconds=7)


class VerdictTest(unittest.TestCase):

    def assert_problem(self, expected, text, exit_status=0):
        problems = judge(text, exit_status)
        self.assertTrue([problem for problem in problems if expected in problem], problems)

    def test_good(self):
        self.assertEqual(judge(GOOD), [])

    def test_carriage_returns_are_no_matter(self):
        self.assertEqual(judge(GOOD.replace("\n", "\r\n")), [])

    def test_empty(self):
        self.assert_problem("did not boot", "")

    def test_every_truncation_fails(self):
        for end in range(len(GOOD)):
            with self.subTest(end=end):
                self.assertNotEqual(judge(GOOD[:end]), [])

    def test_every_missing_line_fails(self):
        lines = GOOD.splitlines(keepends=True)
        for index, line in enumerate(lines):
            if line == "# a remark\n":
                continue
            with self.subTest(line=line):
                self.assertNotEqual(judge("".join(lines[:index] + lines[index + 1:])), [])

    def test_every_doubled_result_or_plan_fails(self):
        lines = GOOD.splitlines(keepends=True)
        for index in range(2, len(lines)):
            if lines[index] == "# a remark\n":
                continue
            with self.subTest(line=lines[index]):
                self.assertNotEqual(judge("".join(lines[:index + 1] + lines[index:])), [])

    def test_missing_plan(self):
        self.assert_problem("there are 0 plans", GOOD.replace("1..3\n", ""))

    def test_empty_plan(self):
        self.assert_problem("the plan has no tests", GOOD.replace("1..3\n", "1..0\n"))

    def test_more_planned_than_run(self):
        self.assert_problem("4 tests are planned", GOOD.replace("1..3\n", "1..4\n"))

    def test_failed_test(self):
        text = GOOD.replace("ok 3 third: with a colon", "not ok 3 third # violated: this")
        text = text.replace("2 passed, 0", "1 passed, 1")
        self.assertEqual(judge(text, 1), ["test 3 'third' failed: violated: this"])

    def test_failure_with_a_good_end(self):
        text = GOOD.replace("ok 3", "not ok 3").replace("2 passed, 0", "1 passed, 1")
        self.assert_problem("as if it had not", text)

    def test_wrong_totals(self):
        self.assert_problem("the totals", GOOD.replace("2 passed", "3 passed"))

    def test_everything_skipped(self):
        text = GOOD.replace("first", "first # SKIP no").replace("colon", "colon # SKIP no").replace(
            "2 passed, 0 failed, 1", "0 passed, 0 failed, 3")
        self.assert_problem("every test was skipped", text)

    def test_fatal(self):
        text = GOOD[:GOOD.index("ok 3")] + "\nFATAL: exception 13 on CPU 2\n"
        self.assert_problem("the kernel stopped: FATAL: exception 13 on CPU 2", text, 1)

    def test_other_number_of_cpus(self):
        self.assert_problem("asked for cpus=4, the kernel has cpus=3", GOOD.replace("cpus=4", "cpus=3"))

    def test_noise_before_the_banner(self):
        self.assert_problem("not the banner", "GRUB error\n" + GOOD)

    def test_no_clean_shutdown(self):
        self.assert_problem("ended with status 1", GOOD, 1)

    def test_time_limit(self):
        self.assertEqual(judge(GOOD, None), ["no end within 7 s: the emulator was killed"])


class BenchTableTest(unittest.TestCase):

    LINES = """\
# bench rdtsc 0 cpus=8 median=5 min=0 max=5
# bench range 1 cpus=8 median=810 min=805 max=815
# bench-sum range 1 cpus=8 times=200 ticks=162100
# bench all 0 cpus=8 median=700 min=1 max=2
# bench-sum all 0 cpus=8 times=200 ticks=140000
# bench-handler range 1 cpus=8 times=200 ticks=24600
"""

    def render(self, cpus, pti=False):
        return bench_table.render(self.LINES.replace("cpus=8", f"cpus={cpus}"), pti)

    def test_beside_linux(self):
        table = self.render(8)
        self.assertIn("| 1 page | 810 | 805 | 815 | 810.5 | 123.0 | 1485 | 1570 | 0.55 | 742, missed |", table)
        self.assertIn("| all | 700 | 1 | 2 | 700.0 | - | 1455 | 1530 | 0.48 | 727 |", table)
        self.assertIn("Reading the counter alone: 5 ticks", table)

    def test_beside_linux_with_isolation(self):
        table = self.render(4, True)
        self.assertIn("| 1 page | 810 | 805 | 815 | 810.5 | 123.0 | 1045 | 1090 | 0.78 | 522, missed |", table)
        self.assertIn("| all | 700 | 1 | 2 | 700.0 | - | 1005 | 1040 | 0.70 | 502, missed |", table)

    def test_the_better_linux_is_the_other_one(self):
        self.assertEqual(bench_table.ratio(185, linux_figures.of(("freed_tables", 1), 4, False)), 0.2)

    def test_bars(self):
        one_cpu = [linux_figures.bar(flush, 1, pti) for flush in (("range", 1), ("freed_tables", 1), ("all", 0))
                   for pti in (False, True)]
        self.assertEqual(one_cpu, [72, 75, 72, 75, None, 63])
        self.assertEqual(linux_figures.bar(("range", 1), 2, False), 392)

    def test_without_a_figure(self):
        self.assertIn("| 1 page | 810 | 805 | 815 | 810.5 | 123.0 | - | - | - | - |", self.render(3))

    def test_what_is_missing(self):
        rest = ["10 pages", "33 pages", "all", "1 page, freed tables"]
        self.assertEqual(bench_table.missing(self.LINES), rest, "all has no handler")
        self.assertEqual(bench_table.missing(self.LINES.replace("cpus=8", "cpus=1")),
                         [title for title in rest if title != "all"])
        self.assertIn("1 page", bench_table.missing(self.LINES.replace("bench-sum", "bench")))


if __name__ == "__main__":
    unittest.main()
