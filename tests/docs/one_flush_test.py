"""Compares docs/one-flush.md with the tree and with the run that it draws.

usage: one_flush_test.py REPRODUCE
"""

import os
import re
import subprocess
import sys
import unittest
from dataclasses import dataclass
from pathlib import Path

# The file itself, not Bazel's link to it: the tree is around it.
ROOT = Path(os.path.realpath(__file__)).parents[2]
_ROW = re.compile(r"(?m)^\| (\d+) \| (\d) \| [^|]+ \| `([^`]+)` \| ([^|]+) \|(?: `([^`]+)`)? \|$")


@dataclass
class Step:
    number: int
    cpu: int
    path: str
    rules: list[str]
    report: str  # how the report prints it, "..." for any text; empty: it has no line there


def table(page: str) -> list[Step]:
    return [Step(int(number), int(cpu), place.split(":")[0], rules.split(", "), report)
            for number, cpu, place, rules, report in _ROW.findall(page)]


def drawn(page: str) -> dict[int, int]:
    """Each step of the picture, and the CPU in whose column it stands."""
    head, *lines = re.search(r"(?s)```\n(.*?)```", page)[1].splitlines()
    columns = [head.index(f"CPU {cpu}") for cpu in range(3)]
    found = {}
    for line in lines:
        for cpu, column in enumerate(columns):
            if match := re.match(r"(\d+) ", line[column:]):
                found[int(match[1])] = cpu
    return found


def wrong_rules(steps: list[Step], protocol: str, root: Path) -> list[str]:
    wrong = []
    for step in steps:
        for rule in step.rules:
            if not re.search(rf"(?m)^(\*\*|\* \*\*|\| ){rule}\b", protocol):
                wrong.append(f"step {step.number}: docs/protocol.md has no {rule}")
            # Invariants are not stated in the code, and the memory manager states its own orderings only.
            elif rule[0] != "I" and step.path.startswith("core/") and not re.search(
                    rf"\b{rule}\b", (root / step.path).read_text()):
                wrong.append(f"step {step.number}: {step.path} does not state {rule}")
    return wrong


def operations(report: str) -> list[tuple[int, str]]:
    """(CPU, operation) of each row of a report's interleaving. A line without a step goes on with the row above."""
    lines = report.split("INTERLEAVING")[1].splitlines()[1:]
    head = lines[0]
    edges = [head.index(name) for name in ["cpu0", "cpu1", "cpu2", "where"]]
    found = []
    for line in lines[1:]:
        if not line:
            break
        for cpu in range(3):
            if text := line[edges[cpu]:edges[cpu + 1]].strip():
                goes_on = not line[:edges[0]].strip() and found and found[-1][0] == cpu
                found.append((cpu, f"{found.pop()[1]} {text}" if goes_on else text))
    return found


def wrong_order(steps: list[Step], report: str) -> list[str]:
    """Steps that the run does not have behind the step before."""
    left = operations(report)
    wrong = []
    for step in steps:
        pattern = ".*".join(map(re.escape, step.report.split("...")))
        at = next((i for i, (cpu, text) in enumerate(left) if cpu == step.cpu and re.match(pattern, text)), None)
        if at is None:
            wrong.append(f"step {step.number}: the run has no '{step.report}' on CPU {step.cpu} after the step before")
        else:
            left = left[at + 1:] if step.report else left
    return wrong


def differences(page: str, protocol: str, report: str, root: Path) -> list[str]:
    steps = table(page)
    wrong = wrong_rules(steps, protocol, root) + wrong_order(steps, report)
    if [step.number for step in steps] != list(range(1, len(steps) + 1)):
        wrong.append("the table's steps are not numbered 1, 2, 3")
    if drawn(page) != {step.number: step.cpu for step in steps}:
        wrong.append("the picture and the table have different steps, or on different CPUs")
    return wrong


class OneFlushTest(unittest.TestCase):
    reproduce = ""

    def setUp(self):
        self.page = (ROOT / "docs/one-flush.md").read_text()
        self.protocol = (ROOT / "docs/protocol.md").read_text()
        run = subprocess.run([self.reproduce, ROOT / "docs/one-flush.txt"], stdout=subprocess.PIPE, text=True,
                             stderr=subprocess.STDOUT, check=True)
        self.assertNotIn("warning", run.stdout)
        self.report = run.stdout

    def differences(self, old: str = "", new: str = "") -> str:
        self.assertIn(old, self.page)
        page = self.page.replace(old, new, 1) if old else self.page
        return "\n".join(differences(page, self.protocol, self.report, ROOT))

    def test_the_page_is_the_run(self):
        self.assertGreater(len(table(self.page)), 20)
        self.assertEqual(self.differences(), "")

    def test_a_rule_that_is_not_there_is_told(self):
        self.assertIn("step 10: docs/protocol.md has no R99", self.differences("| R10, M7 |", "| R99, M7 |"))
        self.assertIn("step 12: core/", self.differences("| R11 |", "| R5 |"))

    def test_another_order_and_another_cpu_are_told(self):
        earlier = self.differences("`send interrupt to cpu1`", "`store cpu2.is_lazy = 1`")
        self.assertIn("step 12: the run has no", earlier)
        self.assertIn("step 20: the run has no", self.differences("| 20 | 1 |", "| 20 | 0 |"))

    def test_a_picture_without_a_step_is_told(self):
        self.assertIn("picture", self.differences("\n2 pending = 1", "\n  pending = 1"))
        self.assertIn("picture", self.differences("\n7 tlb_gen", "\n" + " " * 36 + "7 tlb_gen"))


if __name__ == "__main__":
    OneFlushTest.reproduce = sys.argv.pop(1)
    unittest.main()
