"""What the tool does with its options: forms of output, refusals, exit status."""

import csv
import io
import json
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree
from pathlib import Path

from hal.timed import critical_path, plots, runs

TOOL = "hal/timed/time"


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([TOOL, *arguments], capture_output=True, text=True, check=False)


class ToolTest(unittest.TestCase):
    def refused(self, *arguments: str) -> str:
        result = run(*arguments)
        self.assertEqual(result.returncode, 2, result)
        self.assertEqual(result.stdout, "")
        self.assertNotIn("Traceback", result.stderr)
        return result.stderr

    def test_help_names_each_option(self):
        result = run("--help")
        self.assertEqual(result.returncode, 0)
        for option in ["--cpus", "--prices", "--mode", "--pages", "--pti", "--loaded", "--initiators", "--capacity",
                       "--line-bytes", "--fetch-ahead", "--critical-path", "--layout", "--csv", "--json", "--svg"]:
            self.assertIn(option, result.stdout)

    def test_csv_and_json_say_the_same(self):
        options = ["--cpus", "2,8", "--prices", "desktop,clusters"]
        rows = list(csv.DictReader(io.StringIO(run(*options, "--csv").stdout)))
        results = json.loads(run(*options, "--json").stdout)
        self.assertEqual(len(rows), 2 * 2 * 4)
        self.assertEqual([int(row["time"]) for row in rows], [result["time"] for result in results])
        self.assertEqual([row["mode"] for row in rows[:4]], runs.MODES)

    def test_the_table_has_a_row_for_each_number_of_cpus(self):
        lines = run("--cpus", "2,4", "--prices", "two-socket").stdout.splitlines()
        self.assertEqual(lines[0], "prices: two-socket")
        self.assertTrue(lines[1].startswith("| CPUs | serial, µs | concurrent, µs | early, µs | INVLPGB, µs |"))
        self.assertEqual([line.split(" | ")[0] for line in lines[3:5]], ["| 2", "| 4"])

    def test_the_critical_path_adds_up(self):
        options = ["--cpus", "70", "--mode", "concurrent", "--prices", "clusters"]
        lines = run(*options, "--critical-path").stdout.splitlines()
        whole = float(lines[0].split(": ")[1].removesuffix(" ns").replace(",", ""))
        steps = [line.split()[:2] for line in lines[2:] if line.startswith(" ")]
        self.assertAlmostEqual(sum(float(time.replace(",", "")) for _, time in steps), whole, delta=len(steps) * 0.1)
        self.assertLess(len(steps), 40, "loops are one line each")
        self.assertIn("69 times: ", "\n".join(lines))
        self.assertTrue(lines[-2].startswith("bounded by CPU 0: "), lines[-2])

    def test_layout(self):
        lines = run("--cpus", "8,300", "--layout").stdout.splitlines()
        self.assertEqual([line.split(" | ")[1] for line in lines[2:]], ["8", "1024"])

    def test_plots_are_whole_and_refer_to_nothing(self):
        with tempfile.TemporaryDirectory() as folder:
            self.assertEqual(run("--cpus", "2,4,8", "--prices", "desktop", "--svg", folder).returncode, 0)
            text = (Path(folder) / "desktop.svg").read_text()
        root = xml.etree.ElementTree.fromstring(text)
        self.assertEqual(len(root.findall("{*}polyline")), 2 * 4)
        self.assertNotIn("href", text)
        self.assertNotIn("url(", text)
        self.assertEqual(text.count("http"), 1, "the name space only")
        self.assertIn("prefers-color-scheme: dark", text)

    def test_refusals(self):
        self.assertIn("at most 4096 CPUs", self.refused("--cpus", "5000"))
        self.assertIn("is no list of numbers", self.refused("--cpus", "two"))
        self.assertIn("'other' is none of all, desktop", self.refused("--prices", "other"))
        self.assertIn("'other' is none of all, serial", self.refused("--mode", "other"))
        self.assertIn("1 to 33", self.refused("--cpus", "2", "--pages", "34"))
        self.assertIn("exclude each other", self.refused("--cpus", "2", "--pti", "on", "--mode", "invlpgb"))
        self.assertIn("no kernel is built for 7", self.refused("--cpus", "2", "--capacity", "7"))
        self.assertIn("is no folder", self.refused("--cpus", "2,4", "--svg", "nowhere"))
        self.assertIn("needs two numbers", self.refused("--cpus", "2", "--svg", "."))

    def test_a_list_of_ones_own(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "own.txt"
            text = (runs.HERE / "prices/desktop.txt").read_text()
            path.write_text(text.replace("price pause", "price paws"))
            self.assertIn(f"{path}: line ", self.refused("--cpus", "2", "--prices", str(path)))
            path.write_text(text)
            own, other = (run("--cpus", "2", "--csv", "--prices", prices) for prices in (str(path), "desktop"))
            self.assertEqual(own.stdout.replace(str(path), "desktop"), other.stdout)


class ReportTest(unittest.TestCase):
    def test_a_loop_is_one_line_and_cpus_that_take_turns_are(self):
        round_ = [("locked", ""), ("line", "word")]
        steps = [[0, i, i + 1, *round_[i % 2], -1] for i in range(10)]
        steps += [[cpu, 10 + cpu, 11 + cpu, "line", "post", -1] for cpu in range(1, 5)]
        result = runs.Result({"time": 15, "path": steps})
        lines = critical_path.chain(result)
        self.assertEqual(len(lines), 3, lines)
        self.assertIn("5 times: locked instruction; gets the line word", lines[1])
        self.assertIn("4 CPUs, the last is 4, one after the other: gets the line post", lines[2])

    def test_phases_are_the_whole_time(self):
        for cpus in (1, 2, 20):
            result = runs.simulate(runs.Experiment("desktop", cpus))
            self.assertEqual(sum(result.phases()), result.time)
            self.assertEqual(sum(result.share_by_cpu().values()), result.time)

    def test_axes(self):
        text = plots.draw("title", [plots.Panel("a", "x", "y", [plots.Series("s", [(1, 10), (4, 1000)])])])
        points = xml.etree.ElementTree.fromstring(text).find("{*}polyline").get("points").split()
        (left, bottom), (right, top) = (map(float, point.split(",")) for point in points)
        self.assertLess(left, right)
        self.assertGreater(bottom, top, "the larger value is above")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
