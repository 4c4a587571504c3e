"""Tests of the front door: help without a build, what it runs, and an installation without the source tree."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

from tools import install, shootdown

ROOT = Path(os.path.realpath(__file__)).parents[2]
_BAZEL = """\
#!/bin/sh
pwd >"$RECORD"
printf '%s\\n' "$@" >>"$RECORD"
exit 7
"""


class DoorTest(unittest.TestCase):
    def setUp(self):
        self.home = Path(self.enterContext(tempfile.TemporaryDirectory()))
        (self.home / "bin").mkdir()
        (self.home / "bin/bazel").write_text(_BAZEL)
        (self.home / "bin/bazel").chmod(0o755)
        self.record = self.home / "record"

    def door(self, *words: str, stands: Path = ROOT / "fuzz") -> subprocess.CompletedProcess:
        environment = os.environ | {"PATH": f"{self.home}/bin:{os.environ['PATH']}", "RECORD": str(self.record),
                                    "BUILD_WORKSPACE_DIRECTORY": str(ROOT), "BUILD_WORKING_DIRECTORY": str(stands)}
        environment.pop("PYTHONPATH", None)
        return subprocess.run([sys.executable, ROOT / "tools/shootdown.py", *words], env=environment, cwd="/",
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)

    def test_help_of_every_tool_builds_nothing(self):
        begin = time.monotonic()
        for name in shootdown.TOOLS:
            for words in ([name, "--help"], ["help", name]):
                with self.subTest(words):
                    run = self.door(*words)
                    self.assertEqual((run.returncode, run.stderr), (0, ""))
                    self.assertRegex(run.stdout, r"(?s)usage: .*exit status:")
        self.assertFalse(self.record.exists())
        # Twenty of them, on a machine that has other work.
        self.assertLess(time.monotonic() - begin, 120)

    def test_help_of_the_programs_is_what_they_print(self):
        for name in ("search", "litmus"):
            program = install._RUNFILES / shootdown.TOOLS[name].program
            told = subprocess.run([program, "--help"], stdout=subprocess.PIPE, text=True, check=True).stdout
            self.assertEqual(self.door(name, "--help").stdout, told)

    def test_what_it_runs(self):
        self.assertEqual(self.door("reproduce", "--title", "a file").returncode, 7)
        folder, *words = self.record.read_text().splitlines()
        self.assertEqual(folder, str(ROOT / "fuzz"))
        self.assertEqual((words[0], words[-4:]), ("run", ["//fuzz:reproduce", "--", "--title", "a file"]))
        # Behind "--" there are no options of the tool.
        self.assertEqual(self.door("try", "--", "--help").returncode, 7)

    def test_targets_exist(self):
        for name, tool in shootdown.TOOLS.items():
            package, target = tool.target.removeprefix("//").split(":")
            self.assertRegex((ROOT / package / "BUILD.bazel").read_text(), rf'"{target}"', name)
            for file in (tool.script, tool.help):
                self.assertTrue((ROOT / file).exists(), file)

    def test_no_such_tool(self):
        run = self.door("fuzzz")
        self.assertEqual((run.returncode, run.stderr.count("\n")), (2, 1))
        self.assertIn("there is no tool 'fuzzz'; there are: fuzz, whatsup, reproduce", run.stderr)
        self.assertEqual((self.door().returncode, self.door("--help").returncode), (2, 0))


class InstalledTest(unittest.TestCase):
    def setUp(self):
        self.home = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.prefix = self.home / "a prefix"
        install.install(self.prefix)
        self.scenario = self.home / "one.txt"
        shutil.copy(ROOT / "fuzz/proofs/one_flush.txt", self.scenario)

    def run_installed(self, *words: str) -> subprocess.CompletedProcess:
        # Nothing of this process, and no Bazel.
        return subprocess.run([self.prefix / "bin/shootdown", *words], cwd=self.home, env={"PATH": "/usr/bin:/bin"},
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)

    def test_the_tools_work_from_any_folder(self):
        for words, told in ((["reproduce", "--title", "one.txt"], "ok\n"),
                            (["scenario", "lint", "one.txt"], ""),
                            (["search", "--seed", "1", "--executions", "50"], "clean after 50 executions"),
                            (["explore", "--samples", "1", "one_flush"], "proved: no oracle fires"),
                            (["litmus", "--help"], "usage: litmus"),
                            (["fuzz", "--help"], "usage: campaign")):
            with self.subTest(words):
                run = self.run_installed(*words)
                self.assertEqual(run.returncode, 0, run.stderr)
                self.assertIn(told, run.stdout)
        self.assertEqual(self.run_installed("reproduce", "--html", "story.html", "one.txt").returncode, 0)
        self.assertIn("<!DOCTYPE html>", (self.home / "story.html").read_text())

    def test_nothing_leads_back_to_where_it_was_built(self):
        for path in self.prefix.rglob("*"):
            self.assertFalse(path.is_symlink(), path)
        for path in [self.prefix / "bin/shootdown", *self.prefix.rglob("*.py")]:
            self.assertNotIn(str(ROOT), path.read_text())

    def test_what_needs_the_tree_says_so(self):
        run = self.run_installed("try", "x.patch")
        self.assertEqual(run.returncode, 2)
        self.assertIn("'try' needs the source tree", run.stderr)

    def test_it_can_be_installed_again(self):
        (self.prefix / "lib/shootdown/old").write_text("")
        install.install(self.prefix)
        self.assertFalse((self.prefix / "lib/shootdown/old").exists())
        self.assertEqual(sorted(path.name for path in (self.prefix / "lib").iterdir()), ["shootdown"])

    def test_completion(self):
        script = self.prefix / "share/bash-completion/completions/shootdown"
        door = self.prefix / "bin/shootdown"
        for words, wanted in ((["re"], ["reproduce"]), (["reproduce", "--ht"], ["--html"]), (["search", "--exe"],
                                                                                              ["--executions"])):
            command = (f"source '{script}'; COMP_WORDS=('{door}' {' '.join(words)}); COMP_CWORD={len(words)}; "
                       '_shootdown; printf "%s\\n" "${COMPREPLY[@]}"')
            run = subprocess.run(["bash", "-c", command], stdout=subprocess.PIPE, text=True, check=True,
                                 env={"PATH": "/usr/bin:/bin"})
            self.assertEqual(run.stdout.split(), wanted)


if __name__ == "__main__":
    unittest.main()
