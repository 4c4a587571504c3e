"""What is made of the record of a run: traces, and two runs side by side.

usage: story_test.py MUTANT_REPRODUCE SCENARIO REPRODUCE
"""

import copy
import json
import os
import subprocess
import sys
import unittest

from fuzz.story import against, perfetto


_START = "from fuzz.campaign import ending, reproduce; ending.run('reproduce', reproduce.main)"


class StoryTest(unittest.TestCase):
    mutant: str
    clean: str
    scenario: str

    def setUp(self):
        self.mine, self.theirs = (json.loads(subprocess.run(
            [program, "--json", self.scenario], stdout=subprocess.PIPE, check=False).stdout)
            for program in (self.mutant, self.clean))

    # ---- Traces

    def test_every_item_is_a_slice_in_its_cpu_and_in_order(self):
        events = perfetto.trace(self.mine)["traceEvents"]
        slices = [event for event in events if event["ph"] == "X" and event["tid"] == 1]
        self.assertEqual([(event["name"], event["pid"] - 1) for event in slices],
                         [(item["text"].strip(), item["cpu"]) for item in self.mine["items"]])
        for before, after in zip(slices, slices[1:]):
            self.assertLess(before["ts"] + before["dur"], after["ts"] + 1)

    def test_every_flow_begins_and_ends_inside_of_a_slice(self):
        events = perfetto.trace(self.mine)["traceEvents"]
        slices = {event["ts"] // 10: event for event in events if event["ph"] == "X" and event["tid"] == 1}
        starts = {event["id"]: event for event in events if event["ph"] == "s"}
        ends = {event["id"]: event for event in events if event["ph"] == "f"}
        self.assertEqual(starts.keys(), ends.keys())
        self.assertEqual(sorted(event["cat"] for event in starts.values()),
                         sorted([*(link["kind"] for link in self.mine["links"]), "conflict"]))
        for number, start in starts.items():
            self.assertLess(start["ts"], ends[number]["ts"])
            self.assertEqual((start["name"], ends[number]["bp"]), (ends[number]["name"], "e"))
            for event in (start, ends[number]):
                inside = slices[event["ts"] // 10]
                self.assertEqual((event["pid"], event["tid"]), (inside["pid"], inside["tid"]))

    def test_what_is_stale_and_windows_and_generations_are_there(self):
        events = perfetto.trace(self.mine)["traceEvents"]
        self.assertTrue([event for event in events if event.get("cat") == "stale"])
        self.assertTrue([event for event in events if event["name"] == "interrupts off" and event["ph"] == "X"])
        counts = [event["args"]["generation"] for event in events
                  if event["ph"] == "C" and event["name"] == "mm0 generation"]
        self.assertEqual(counts, sorted(counts))
        self.assertGreater(len(counts), 1)

    def test_a_span_ends_where_the_place_changes(self):
        record = {"start": {"a": "1"},
                  "items": [{"changes": {"b": "2"}}, {"changes": {"a": "3"}}, {"changes": {"a": None}}]}
        self.assertEqual(sorted(perfetto.spans(record)), [("a", "1", 0, 1), ("a", "3", 1, 2), ("b", "2", 0, 3)])

    # ---- Under gdb

    def test_gdb_stops_where_the_oracle_fires_on_the_stack_of_the_cpu(self):
        run = subprocess.run([sys.executable, "-c", _START, "--binary", self.mutant, "--gdb", self.scenario],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                             env=os.environ | {"PYTHONPATH": ":".join(path for path in sys.path if path),
                                               "BUILD_WORKING_DIRECTORY": os.getcwd()}, check=False)
        for function in ("abandon_run", "stop_if_failed", "switch_mm", "fiber_entry"):
            self.assertRegex(run.stdout, rf"(?m)^#\d+ .*\b{function}\b")

    # ---- Side by side

    def test_the_first_difference_is_the_first(self):
        at = against.first_difference(self.mine, self.theirs)
        texts = [[(item["cpu"], item["text"]) for item in record["items"]] for record in (self.mine, self.theirs)]
        self.assertEqual(texts[0][:at], texts[1][:at])
        self.assertNotEqual(texts[0][at], texts[1][at])
        told = against.compare(self.mine, self.theirs)
        self.assertIn("the clean core: ok\nthis build: O1 ", told)
        left, right = next(line for line in told.split("-+-")[1].splitlines() if " | " in line).split(" | ")
        self.assertIn(self.theirs["items"][at]["text"].strip()[:20], left)
        self.assertIn(self.mine["items"][at]["text"].strip()[:20], right)

    def test_the_same_run_has_no_difference(self):
        self.assertIsNone(against.first_difference(self.mine, self.mine))
        self.assertIn("The two runs have the same steps.", against.compare(self.mine, self.mine))

    def test_a_run_that_is_longer_differs_behind_the_shorter(self):
        shorter = self.mine | {"items": self.mine["items"][:-2]}
        self.assertEqual(against.first_difference(self.mine, shorter), len(shorter["items"]))

    def test_lines_of_the_code_are_no_difference_and_private_state_is_told(self):
        other = copy.deepcopy(self.mine)
        for item in other["items"]:
            item["where"] = "elsewhere.h:1"
        self.assertIsNone(against.first_difference(self.mine, other))
        other["items"][4].setdefault("changes", {})["cpu0/asid/3"] = "mm1, generation 9"
        self.assertEqual(against.first_state_difference(self.mine, other),
                         (4, ["cpu0/asid/3: mm1, generation 9 | nothing"]))


if __name__ == "__main__":
    StoryTest.mutant, StoryTest.clean = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[3])
    StoryTest.scenario = sys.argv[2]
    del sys.argv[1:]
    unittest.main()
