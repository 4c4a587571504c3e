"""Makes tables as users do, with scripts in the place of Bazel and of the fuzz programs."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

_TESTDATA = Path(__file__).parent / "testdata"
_FAKE_TARGET = Path("fuzz/campaign/testdata/fake_target.py").absolute()
_START = "import sys; from tests.mutants import table; sys.exit(table.main(sys.argv[1:]))"
_HEADER = """\
# museum: 7
# title: t
# year: 2020
# reference: r
# rule: R1
# oracles: O5, O2
# story: s
# needs: n
# bochs: no
--- a/core/x.h
+++ b/core/x.h
@@ -1 +1 @@
-a
+b
"""


class TableTest(unittest.TestCase):
    def setUp(self):
        self.home = Path(self.enterContext(tempfile.TemporaryDirectory()))
        for folder in ("core", "tests/mutants/scenarios", "tools", "programs", "tmp"):
            (self.home / folder).mkdir(parents=True)
        (self.home / "core/x.h").write_text("a\n")
        (self.home / "tests/mutants/m07_t.patch").write_text(_HEADER)
        (self.home / "tests/mutants/not_put_back.md").write_text("## Not put back\n")
        shutil.copy(_TESTDATA / "fake_bazel.py", self.home / "tools/bazel")
        self.programs = self.home / "programs"
        for name in ("m07_t_search", "m07_t_libfuzzer", "search_bin", "shootdown_libfuzzer"):
            text = _FAKE_TARGET.read_text()
            # The mutant's random search finds something in its 17th run; the clean one nothing.
            text = text.replace('"FAKE_SEARCH", "0"', '"FAKE_SEARCH", "17"') if name == "m07_t_search" else text
            (self.programs / name).write_text(text)
            (self.programs / name).chmod(0o755)
        self.env = {**os.environ, "PATH": f"{self.home}/tools:/usr/bin:/bin", "TMPDIR": str(self.home / "tmp"),
                    "PYTHONPATH": ":".join(path for path in sys.path if path),
                    "BUILD_WORKSPACE_DIRECTORY": str(self.home), "FAKE_PROGRAMS": str(self.programs),
                    "FAKE_LOG": str(self.home / "log")}

    def start(self, *options: str, **env: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-c", _START, "--known", "m07_t", "--units", "m04_u", "--jobs", "4", *options],
            env={**self.env, **env}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/")

    def table(self, *options: str, status: int, **env: str) -> str:
        process = self.start(*options, **env)
        output = process.communicate(timeout=120)[0]
        self.assertEqual(process.returncode, status, output)
        self.assertEqual(list((self.home / "tmp").iterdir()), [], "temporary files are left")
        return output

    def lines(self) -> list[dict]:
        file = self.home / "out/museum/results.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def test_table(self):
        output = self.table("--seeds", "2", "--seconds", "1", "--engines", "random,libfuzzer", status=0)
        self.assertIn("Reports on the clean core: 0, in 4 searches.", output)
        self.assertIn("at least one engine: 1 of 1 mutants", output)
        text = (self.home / "out/museum/table.md").read_text()
        self.assertIn("--seeds 2 --seconds 1 --engines random,libfuzzer --jobs 4", text)
        self.assertRegex(text, r"\| 7 \| \[t\].* \| 2/2, 0\.\d s \| 0/2, >1 s \| O5 \| O5 2 \|  \|")
        self.assertIn("| m07_t | random | 2/2 | 17 | 17 |", text)
        self.assertIn("[t](../../docs/museum/m07_t.md)", text)
        self.assertIn("unit tests only: [4](../../docs/museum/m04_u.md).", text)
        self.assertTrue(text.endswith("## Not put back\n"))
        self.assertRegex(text, r"\| the clean core \| 0/2, >5 s \| 0/2, >5 s \| none \| - \|")
        rows = json.loads((self.home / "out/museum/table.json").read_text())
        self.assertEqual(rows[0]["cells"]["random"]["found"], 2)

    def test_a_mutant_that_nobody_finds(self):
        self.table("--seeds", "1", "--seconds", "1", "--engines", "libfuzzer", "--only", "m07_t", status=1)

    def test_a_report_on_the_clean_core(self):
        self.table("--seeds", "1", "--seconds", "1", "--engines", "random", "--only", "clean", status=1,
                   FAKE_SEARCH="5")

    def test_goes_on_where_it_stopped(self):
        options = ("--seeds", "2", "--seconds", "1", "--engines", "random", "--only", "m07_t")
        self.assertIn("2 searches, 0 known already", self.table(*options, status=0))
        self.assertIn("0 searches, 2 known already", self.table(*options, status=0))
        self.assertIn("1 searches, 2 known already",
                      self.table(*options[2:], "--seeds", "3", status=0))
        with open(self.programs / "m07_t_search", "a", encoding="utf-8") as program:
            program.write("# other code\n")
        self.assertIn("2 searches, 0 known already", self.table(*options, status=0))

    def test_exhaustive_search_is_made_once(self):
        (self.programs / "m07_t_explore").write_text("#!/bin/sh\necho '  FOUND O2 something'\nexit 1\n")
        (self.programs / "m07_t_explore").chmod(0o755)
        output = self.table("--seeds", "3", "--seconds", "9", "--engines", "exhaustive", "--only", "m07_t", status=0)
        self.assertIn("1 searches, 0 known already", output)
        self.assertIn("| 1/1, 0.", (self.home / "out/museum/table.md").read_text())

    def test_interrupted(self):
        process = self.start("--seconds", "600", "--engines", "libfuzzer,random", "--only", "m07_t",
                             "--seeds", "1")
        deadline = time.monotonic() + 60
        while not self.lines():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        output = process.communicate(timeout=60)[0]
        self.assertEqual(process.returncode, 2, output)
        self.assertIn("Stopped; started again", output)
        self.assertIn("1 of 2 searches are not in it.", output)
        self.assertIn("1/1", (self.home / "out/museum/table.md").read_text())

    def test_a_search_that_executes_nothing(self):
        # Of the clean core silence would be taken for a good sign.
        (self.programs / "search_bin").write_text("#!/bin/sh\nsleep 100\n")
        output = self.table("--seeds", "1", "--seconds", "1", "--engines", "random", status=2)
        self.assertIn("executed nothing in their time and are left out: clean with random from seed 1.", output)
        self.assertIn("* Not searched: clean.", output)
        self.assertNotIn("Reports on the clean core", output)
        self.assertEqual([line["mutant"] for line in self.lines()], ["m07_t"])

    def test_errors(self):
        self.assertIn("m08: no such mutant. There are: m07_t, clean.", self.table("--only", "m08", status=2))
        self.assertIn("'x' is no engine", self.table("--engines", "x", status=2))
        output = self.table("--engines", "random", "--only", "m07_t", status=2, FAKE_BUILD="error")
        self.assertIn("the programs do not build", output)


if __name__ == "__main__":
    unittest.main()
