"""The same bytes give the same run in every build of the fuzz target, both engines' included.

usage: trace_test.py PROGRAM...
"""

import hashlib
import os
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

INPUTS = 24
PROGRAMS = []


def input_bytes(number: int) -> bytes:
    """Input `number`: the decoder makes a scenario of any bytes. Short ones and long ones."""
    length = 40 + 29 * number
    blocks = (hashlib.sha256(b"%d %d" % (number, block)).digest()
              for block in range(length // 32 + 1))
    return b"".join(blocks)[:length]


def traces(program: str, files: list[str]) -> dict[str, str]:
    """What the program says of each input: trace hash, visible operations, interrupts."""
    result = subprocess.run([program, *files], capture_output=True, text=True, check=False,
                            env=dict(os.environ, SHOOTDOWN_TRACE="1"))
    if result.returncode != 0:
        raise AssertionError(f"{program} ended with {result.returncode}:\n{result.stderr[-4000:]}")
    lines = re.findall(r"^SHOOTDOWN-TRACE: ([0-9a-f]{16}) (.*)$", result.stderr, re.MULTILINE)
    told = {}
    for name, trace in lines:
        if told.setdefault(name, trace) != trace:
            raise AssertionError(f"{program} ran one input in two ways: {told[name]}, {trace}")
    return told


class TraceTest(unittest.TestCase):
    """Runs all programs on all inputs."""

    def test_every_build_runs_alike(self):
        with tempfile.TemporaryDirectory() as folder:
            files = []
            for number in range(INPUTS):
                file = Path(folder) / f"input{number:02}"
                file.write_bytes(input_bytes(number))
                files.append(str(file))
            told = {program: traces(program, files) for program in PROGRAMS}
        # AFL++'s driver runs an input of its own first; what all have in common are ours.
        common = set.intersection(*(set(one) for one in told.values()))
        self.assertEqual(len(common), INPUTS)
        expected = told[PROGRAMS[0]]
        for program, one in told.items():
            for name in sorted(common):
                self.assertEqual(one[name], expected[name], f"{program}, {PROGRAMS[0]}")
        steps = sorted(int(expected[name].split()[1]) for name in common)
        self.assertGreater(steps[len(steps) // 2], 100, "most runs are too short to show anything")
        self.assertEqual(len({expected[name].split()[0] for name in common}), INPUTS)

    def test_libfuzzer_keeps_no_rare_features_unless_it_is_told_to(self):
        program, = (program for program in PROGRAMS if program.endswith("libfuzzer"))
        for options, entropic in (([], False), (["-entropic=1"], True)):
            result = subprocess.run([program, "-runs=1", *options], stdin=subprocess.DEVNULL, capture_output=True,
                                    text=True, check=True)
            self.assertEqual("entropic power schedule" in result.stderr, entropic, result.stderr)


if __name__ == "__main__":
    PROGRAMS = sys.argv[1:]
    unittest.main(argv=sys.argv[:1])
