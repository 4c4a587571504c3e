"""Tests of the demonstration, with a script in the place of Bazel."""

import os
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

DEMO = Path(__file__).parent / "demo.py"
FAKE = """#!/bin/sh
# Writes down what it was asked for. $FAIL names a target that ends with $STATUS.
echo "$@" >>"$LOG"
for word; do
  [ "$word" = "$FAIL" ] && exit "$STATUS"
done
case "$*" in
  *--binary-random*)
    mkdir -p "$OUT/mutant"
    printf '# index\\nO1-abc.bin\\tO1 a title\\t9\\trandom\\t100\\n' >"$OUT/mutant/titles.txt"
    exit 1 ;;
  *--minimise*) exit 1 ;;
esac
"""


class DemoTest(unittest.TestCase):
    def setUp(self):
        self.home = Path(self.enterContext(tempfile.TemporaryDirectory()))
        bazel = self.home / "bazel"
        bazel.write_text(FAKE)
        bazel.chmod(0o755)
        self.log = self.home / "log"
        self.env = {**os.environ, "PATH": f"{self.home}:/usr/bin:/bin", "LOG": str(self.log),
                    "OUT": str(self.home / "out"), "FAIL": "none", "STATUS": "0"}

    def demo(self, status: int, **env: str) -> str:
        run = subprocess.run([sys.executable, DEMO, "--out", self.home / "out"],
                             env={**self.env, **env}, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True, check=False)
        self.assertEqual(run.returncode, status, run.stdout)
        return run.stdout

    def test_all_went_as_it_should(self):
        output = self.demo(0)
        headings = [line for line in output.splitlines() if line[:3] in [f"{i}. " for i in range(9)]]
        self.assertEqual(len(headings), 6, output)
        self.assertIn("$ bazel run //fuzz:campaign -- --seconds 30", output)
        self.assertIn("out/mutant/O1-abc.bin", output)
        self.assertIn("everything went as it should", output)
        asked = self.log.read_text().splitlines()
        self.assertEqual([line.split()[0] for line in asked], ["build"] + 4 * ["run"])

    def test_steps_that_go_wrong(self):
        for target, status, text in [
                ("build", "1", "The build failed"),
                ("--seconds", "1", "found something in the clean core"),
                ("--stop-on-first", "0", "should have found the mutant"),
                ("--minimise", "0", "should have failed again"),
                ("--cpus", "1", "should have passed its self-tests")]:
            with self.subTest(target):
                output = self.demo(1, FAIL=target, STATUS=status)
                self.assertIn("The demonstration stopped.", output)
                self.assertIn(text, output)

    def test_no_bazel(self):
        (self.home / "bazel").unlink()
        self.assertIn("tools/setup", self.demo(2, PATH=str(self.home)))

    def test_interrupted(self):
        script = self.home / "bazel"
        script.write_text("#!/bin/sh\ntrap 'echo cleaned up; exit 3' TERM\n"
                          f"echo >'{self.home}/up'\nsleep 100 >/dev/null 2>&1 & wait\n")
        process = subprocess.Popen([sys.executable, DEMO, "--out", self.home / "out"], env=self.env,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        while not (self.home / "up").exists():
            self.assertIsNone(process.poll(), "the demonstration ended too early")
            time.sleep(0.05)
        process.terminate()
        output = process.communicate(timeout=20)[0]
        self.assertEqual(process.returncode, 130, output)
        self.assertIn("cleaned up", output)


if __name__ == "__main__":
    unittest.main()
