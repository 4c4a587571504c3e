"""Tries changes as users do, with scripts in the place of Bazel and of the fuzz programs.

With programs of a real mutant as arguments it also tries that one, with the real engines.
"""

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
_START = "import sys; from tests.mutants import try_patch; sys.exit(try_patch.main(sys.argv[1:]))"
_PATCH = """\
--- a/core/x.h
+++ b/core/x.h
@@ -1,3 +1,3 @@
 // A room.
-int x = 1;
+int x = 2;
 // The end.
"""
_EXPLORE = """\
#!/bin/sh
echo "$5: a proof"
echo "  60 executions, 7 given up as redundant, 900 steps"
echo "  {}"
exit {}
"""
REAL = [Path(argument).absolute() for argument in sys.argv[1:]]
del sys.argv[1:]


class TryFixture(unittest.TestCase):
    """A work tree, a home, and fake tools."""

    def setUp(self):
        self.home = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.tree = self.home / "tree"
        (self.tree / "core").mkdir(parents=True)
        (self.tree / "core/x.h").write_text("// A room.\nint x = 1;\n// The end.\n")
        self.patch = self.home / "change.patch"
        self.patch.write_text(_PATCH)
        self.programs, self.tools = self.home / "programs", self.home / "tools"
        for folder in (self.programs, self.tools, self.home / "tmp"):
            folder.mkdir()
        shutil.copy(_TESTDATA / "fake_bazel.py", self.tools / "bazel")
        self.env = {
            **os.environ,
            "PATH": f"{self.tools}:/usr/bin:/bin",
            "PYTHONPATH": ":".join(path for path in sys.path if path),
            "BUILD_WORKING_DIRECTORY": str(self.home),
            "BUILD_WORKSPACE_DIRECTORY": str(self.tree),
            "XDG_CACHE_HOME": str(self.home / "cache"),
            "TMPDIR": str(self.home / "tmp"),
            "FAKE_PROGRAMS": str(self.programs),
            "FAKE_LOG": str(self.home / "log"),
        }
        self.fake("search_bin", _FAKE_TARGET.read_text())
        self.fake("clean_search", _FAKE_TARGET.read_text())
        self.fake("shootdown_libfuzzer", _FAKE_TARGET.read_text())
        self.fake("explore_bin", _EXPLORE.format("proved: no oracle fires", 0))
        self.fake("reproduce_bin", "#!/bin/sh\n"
                  "echo shootdown-scenario 1 >$4\necho the story of $(cat $2)\nexit 1\n")

    def fake(self, name: str, text: str):
        (self.programs / name).write_text(text)
        (self.programs / name).chmod(0o755)

    def start(self, *options: str, **env: str) -> subprocess.Popen:
        clean = ["--compare-with", str(self.programs / "clean_search")] if "--diff" not in options else []
        return subprocess.Popen([sys.executable, "-c", _START, *options, *clean], env={**self.env, **env},
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/")

    def run_try(self, *options: str, status: int, **env: str) -> str:
        process = self.start(*options, **env)
        output = process.communicate(timeout=120)[0]
        self.assertEqual(process.returncode, status, output)
        self.assert_clean()
        return output

    def assert_clean(self):
        self.assertEqual(list((self.home / "tmp").iterdir()), [], "the scratch copy is left")
        self.assertEqual((self.tree / "core/x.h").read_text(), "// A room.\nint x = 1;\n// The end.\n",
                         "the work tree was changed")


class VerdictTest(TryFixture):
    def test_survived(self):
        output = self.run_try("change.patch", "--seconds", "1", "--seeds", "2", "--engines",
                              "random,libfuzzer", status=0)
        self.assertRegex(output, r"SURVIVED: nothing was reported\.\n"
                         r"The changed lines ran an unknown number of times, and differed from the clean core in "
                         r"0 of 3,000 runs\.\n"
                         r"  random search +2 seeds; (about )?[1-9][\d,]+ and (about )?[1-9][\d,]+ executions, 2 s\n"
                         r"  libFuzzer +2 seeds; [1-9][\d,]+ and [1-9][\d,]+ executions, 2 s\n"
                         r"Not tried: PCT search, aimed search, search of chains, exhaustive search, AFL\+\+, "
                         r"Bochs\.\n")
        self.assertIn("\n4 searches of at most 1 s, ", output)
        log = (self.home / "log").read_text()
        self.assertIn("build //fuzz:search_bin //fuzz:reproduce_bin\n// A room.\nint x = 2;", log)
        self.assertRegex(log, r"shutdown\n.*\n.*\n.*\n$")

    def test_tells_limits_of_the_model(self):
        output = self.run_try("change.patch", "--seconds", "1", "--seeds", "2", "--engines", "random", status=0,
                              FAKE_LIMIT="all frames in use")
        self.assertRegex(output, r"random search +2 seeds; .*\n"
                         r"    reached in [1-9][\d,]+ of them \((2\d|1\d) %\): all frames in use\n")

    def test_broken(self):
        output = self.run_try("change.patch", "--keep", "kept", status=1, FAKE_SEARCH="17",
                              **{"PATH": self.env["PATH"]})
        self.assertIn("BROKEN: O5 a table is released too early\n"
                      "aimed search, seed 1, after 17 executions", output)
        self.assertRegex(output, r"the story of shootdown-bytes 1\sscenario of seed")
        self.assertNotRegex((self.home / "log").read_text(), r"(?m)^build .*shootdown_afl", "built before needed")
        self.assertEqual(sorted(path.name for path in (self.home / "kept").iterdir()),
                         ["crash.bin", "reproduce", "scenario.txt", "story.txt"])

    def test_what_the_clean_core_shows_too_is_no_verdict(self):
        output = self.run_try("change.patch", "--keep", "kept", status=2, FAKE_SEARCH="17", FAKE_REPLAY="1")
        self.assertIn("NO VERDICT: the core without the change shows this, too, so mend that first: "
                      "O5 a table is released too early\n", output)
        self.assertNotIn("BROKEN", output)
        self.assertRegex(output, r"the story of shootdown-bytes 1\sscenario of seed")

    def fake_counts(self):
        """The tools that tell how often a line ran: as often as the fake program says."""
        for name, script in (("llvm-profdata-19", "shift 3; cat $2 >$1\n"),
                             ("llvm-cov-19", "echo SF:/somewhere/core/x.h; echo DA:2,$(cat ${3#*=})\n")):
            (self.tools / name).write_text("#!/bin/sh\n" + script)
            (self.tools / name).chmod(0o755)

    def test_the_searches_look_where_runs_differ(self):
        self.fake_counts()
        self.fake("search_bin", _FAKE_TARGET.read_text().replace(
            "def main() -> int:\n",
            f"def main() -> int:\n    open('{self.home}/words', 'a').write(f'{{sys.argv}}\\n')\n"))
        output = self.run_try("change.patch", "--seconds", "1", "--engines", "random", status=0, FAKE_SURVEY="another",
                              FAKE_COUNT="17")
        self.assertIn("Of 3,000 runs 1,500 differ from those of the clean core, most with: another.", output)
        self.assertIn("The changed lines ran 17 times, and differed from the clean core in 1,500 of 3,000 runs.",
                      output)
        searches = [line for line in (self.home / "words").read_text().splitlines()
                    if "--out" in line and "--hashes" not in line]
        focused = [line for line in searches if "'--focus', 'another'" in line]
        self.assertGreater(len(focused), len(searches) // 3)
        self.assertLess(len(focused), len(searches))

    def test_what_never_ran_has_not_survived(self):
        self.fake_counts()
        output = self.run_try("change.patch", "--seconds", "1", "--engines", "random", status=2, FAKE_COUNT="0")
        self.assertIn("NEVER RAN: no changed line was executed", output)
        self.assertIn("These lines: core/x.h:2.", output)
        self.assertNotIn("SURVIVED", output)

    def test_proofs_hold(self):
        output = self.run_try("change.patch", "--engines", "exhaustive", "--seeds", "3", "--seconds", "100",
                              status=0)
        proofs = len(list(Path("fuzz/proofs").glob("*.txt")))
        self.assertGreater(proofs, 10)
        self.assertIn("\n1 search of at most 100 s, ", output)
        self.assertRegex(output, fr"  exhaustive search +{proofs} of {proofs} proofs explored completely; "
                         fr"{60 * proofs:,} executions, \d+ s\n")

    def test_proofs_that_time_does_not_reach_are_named(self):
        names = sorted(proof.stem for proof in Path("fuzz/proofs").glob("*.txt"))
        self.fake("explore_bin", _EXPLORE.format("proved: no oracle fires", 0).replace(
            "#!/bin/sh\n", f"#!/bin/sh\ncase $5 in\n*/{names[2]}.txt) sleep 100;;\n"
            f"*/{names[1]}.txt) echo '  20000 executions, 0 given up'; echo '  NOT PROVED'; exit 1;;\nesac\n"))
        output = self.run_try("change.patch", "--engines", "exhaustive", "--seconds", "1", status=0)
        self.assertIn(f"1 of {len(names)} proofs explored completely; as far as 20,000 executions: {names[1]}; "
                      f"stopped half-way: {names[2]}; not reached: {', '.join(names[3:])}; 20,060 executions, 1 s",
                      output)

    def test_an_exhaustive_search_that_finishes_no_proof_is_no_verdict(self):
        self.fake("explore_bin", "#!/bin/sh\nsleep 100\n")
        output = self.run_try("change.patch", "--engines", "exhaustive", "--seconds", "1", status=2)
        self.assertIn("exhaustive search explored no proof in 1 s", output)
        # As where the disk is full: it ends well, and its last line is not there.
        self.fake("explore_bin", "#!/bin/sh\necho what\n")
        output = self.run_try("change.patch", "--engines", "exhaustive", status=2)
        self.assertIn("without a verdict", output)

    def test_an_engine_that_executes_nothing_is_no_verdict(self):
        for program, engine in (("search_bin", "random"), ("shootdown_libfuzzer", "libfuzzer")):
            for script in ("sleep 100", "exit 0"):
                with self.subTest(engine, script=script):
                    self.fake(program, f"#!/bin/sh\n{script}\n")
                    output = self.run_try("change.patch", "--engines", engine, "--seconds", "1", "--seeds", "1",
                                          status=2)
                    self.assertNotIn("SURVIVED", output)

    def test_a_kernel_without_self_tests_is_no_verdict(self):
        self.patch.write_text(_PATCH)
        self.fake("bochs", "#!/bin/sh\nexit 0\n")
        self.assertIn("cannot be run", self.run_try("change.patch", "--engines", "bochs", status=2))

    def test_a_proof_fails(self):
        self.fake("explore_bin", _EXPLORE.format("FOUND O5 a table is released too early", 1))
        output = self.run_try("change.patch", "--keep", "kept", "--engines", "exhaustive", status=1)
        self.assertIn("BROKEN: O5 a table is released too early\nexhaustive search, after 60 ", output)
        self.assertRegex(output, r"A proof fails:\n\n\S+\.txt: a proof\n")
        self.assertIn("FOUND O5", (self.home / "kept/story.txt").read_text())

    def test_the_explorer_dies(self):
        self.fake("explore_bin", "#!/bin/sh\necho explore: what file\nexit 2\n")
        output = self.run_try("change.patch", "--engines", "exhaustive", status=2)
        self.assertIn("exhaustive search stopped", output)
        self.assertIn("what file", output)

    def test_the_reproducer_does_not_show_it(self):
        self.fake("reproduce_bin", "#!/bin/sh\nexit 0\n")
        output = self.run_try("change.patch", "--keep", "kept", "--engines", "libfuzzer", status=1,
                              FAKE="always")
        self.assertIn("BROKEN: O3 always", output)
        self.assertIn("The input is in kept/crash.bin.", output)

    def test_a_story_of_its_own(self):
        # Where it cannot be made smaller, the story is of what was found.
        self.fake("reproduce_bin", "#!/bin/sh\n[ $1 = --minimise ] && exit 2\n"
                  "echo O5 a table is released too early\nexit 1\n")
        output = self.run_try("change.patch", "--keep", "kept too", "--engines", "random", status=1, FAKE_SEARCH="17")
        self.assertIn("could not be made smaller:\n\nO5 a table", output)
        self.assertIn("'kept too/reproduce' 'kept too/crash.bin'", output)
        self.assertNotIn("another title", output)
        self.fake("reproduce_bin", "#!/bin/sh\necho O7 something else\nexit 1\n")
        output = self.run_try("change.patch", "--keep", "kept", "--engines", "random", status=1, FAKE_SEARCH="17")
        self.assertIn("reported it by another title", output)

    def test_broken_stays_broken_where_nothing_can_be_kept(self):
        (self.home / "file").write_text("no folder")
        output = self.run_try("change.patch", "--keep", "file/kept", "--engines", "random", status=1,
                              FAKE_SEARCH="17")
        self.assertIn("BROKEN: O5", output)
        self.assertIn("cannot be kept in file/kept: Not a directory", output)

    def test_comments_only(self):
        self.patch.write_text(_PATCH.replace("+int x = 2;", "+int x = 1;  // One."))
        output = self.run_try("change.patch", status=0)
        self.assertIn("SURVIVED: nothing is changed but comments and blank space, in core/x.h", output)
        self.assertNotIn("build", (self.home / "log").read_text() if (self.home / "log").exists() else "")

    def test_the_kernel_is_booted_if_only_it_is_changed(self):
        (self.tree / "hal/x86_64").mkdir(parents=True)
        (self.tree / "hal/x86_64/y.h").write_text("int y = 1;\n")
        self.patch.write_text("--- a/hal/x86_64/y.h\n+++ b/hal/x86_64/y.h\n"
                              "@@ -1 +1 @@\n-int y = 1;\n+int y = 2;\n")
        self.fake("bochs", "#!/bin/sh\necho ok 1 fine\necho not ok 2 shootdown\nexit 1\n")
        output = self.run_try("change.patch", status=1)
        self.assertIn("BROKEN: the test kernel fails in Bochs\nnot ok 2 shootdown", output)
        self.fake("bochs", "#!/bin/sh\necho ok 1 fine\necho 'ok 2 fine # SKIP needs 8 CPUs'\nexit 0\n")
        self.assertIn("one boot with 4 CPUs, 1 self-test passed", self.run_try("change.patch", status=0))


class ErrorTest(TryFixture):
    def test_no_patch(self):
        self.assertIn("name a patch, or --diff", self.run_try(status=2))
        self.assertIn("no such file", self.run_try("nothing.patch", status=2))
        self.patch.write_text("hello\n")
        self.assertIn("no unified diff", self.run_try("change.patch", status=2))

    def test_bad_values(self):
        for options in (["--seconds", "0"], ["--engines", "honggfuzz"], ["--nonsense"]):
            output = self.run_try("change.patch", *options, status=2)
            self.assertIn(options[0], output)
            self.assertEqual(output.count("\n"), 1, output)

    def test_another_room(self):
        self.patch.write_text(_PATCH.replace("core/x.h", "docs/x.md"))
        self.assertIn("it changes docs/x.md", self.run_try("change.patch", status=2))

    def test_nothing_that_is_compiled(self):
        (self.tree / "core/README.md").write_text("a\n")
        (self.tree / "core/unused").mkdir()
        (self.tree / "core/unused/y.h").write_text("a\n")
        text = "--- a/core/{0}\n+++ b/core/{0}\n@@ -1 +1 @@\n-a\n+b\n"
        self.patch.write_text(text.format("README.md"))
        output = self.run_try("change.patch", "--engines", "random", status=2)
        self.assertIn("it changes nothing that is compiled: core/README.md", output)
        self.patch.write_text(text.format("unused/y.h"))
        output = self.run_try("change.patch", "--engines", "random", status=2)
        self.assertIn("no program of random search is made of what it changes: core/unused/y.h", output)
        self.patch.write_text(text.format("unused/y.h") + _PATCH)
        output = self.run_try("change.patch", "--engines", "random", "--seconds", "1", status=0)
        self.assertIn("Note: what it changes in core/unused/y.h is in no program that is run here.", output)

    def test_a_full_disk(self):
        # What the copy is written to takes nothing.
        (self.tree / "core/big.h").write_bytes(b"x" * 4_000_000)
        run = subprocess.run(["prlimit", "--fsize=1000000", sys.executable, "-c", _START, "change.patch", "--engines",
                              "random"], env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                             cwd="/", check=False)
        self.assertEqual(run.returncode, 2, run.stdout)
        self.assertRegex(run.stdout, "^try: .*(No space left|File too large)")
        self.assertNotIn("Traceback", run.stdout)
        self.assertEqual(list((self.home / "tmp").iterdir()), [])

    def test_a_hunk_that_does_not_fit(self):
        self.patch.write_text(_PATCH.replace("int x = 1", "int x = 7"))
        output = self.run_try("change.patch", "--engines", "random", status=2)
        self.assertIn("does not apply:\n  core/x.h: hunk 1 does not fit, near line 1\n", output)

    def test_a_file_that_is_not_there(self):
        self.patch.write_text(_PATCH.replace("core/x.h", "core/z.h"))
        output = self.run_try("change.patch", "--engines", "random", status=2)
        self.assertIn("it changes a file that is not in the work tree", output)

    def test_applied_already(self):
        self.patch.write_text(_PATCH.replace("-int x = 1", "-int x = 0").replace("x = 2", "x = 1"))
        output = self.run_try("change.patch", "--engines", "random", status=2)
        self.assertIn("the work tree has this change already", output)

    def test_it_does_not_build(self):
        output = self.run_try("change.patch", "--engines", "random", status=2, FAKE_BUILD="error")
        self.assertIn("it does not build:\n  ./core/x.h:2:9: use of undeclared identifier 'y'\n"
                      "      2 | int x = y;\n", output)
        self.assertNotIn("1 error generated", output)
        output = self.run_try("change.patch", "--engines", "random", status=2, FAKE_BUILD="link")
        self.assertIn("undefined symbol: f()", output)

    def test_missing_tools(self):
        bare = self.home / "bare"
        bare.mkdir()
        for tool in ("patch", "git"):
            (bare / tool).symlink_to(f"/usr/bin/{tool}")
        output = self.run_try("change.patch", "--engines", "random", status=2, PATH=str(bare))
        self.assertIn("bazel is not installed; run tools/setup", output)
        output = self.run_try("change.patch", "--engines", "afl", status=2, PATH=str(bare))
        self.assertIn("afl-fuzz is not installed", output)
        (bare / "patch").unlink()
        output = self.run_try("change.patch", "--engines", "random", status=2, PATH=str(bare))
        self.assertIn("try: the program 'patch' is not installed", output)
        self.assertNotIn("does not apply", output)

    def test_an_engine_that_dies(self):
        output = self.run_try("change.patch", "--engines", "random", status=2, FAKE_SEARCH="-1")
        self.assertIn("random search stopped", output)
        self.assertIn("cannot allocate", output)


class DiffTest(TryFixture):
    def git(self, *words: str):
        subprocess.run(["git", "-C", str(self.tree), "-c", "user.name=n", "-c", "user.email=e", *words],
                       check=True, stdout=subprocess.DEVNULL)

    def setUp(self):
        super().setUp()
        self.git("init", "-q")
        self.git("add", "-A")
        self.git("commit", "-qm", "m")

    def test_nothing_changed(self):
        (self.tree / "docs.md").write_text("words\n")
        self.assertIn("nothing is changed", self.run_try("--diff", status=2))

    def test_changed_and_new_files(self):
        (self.tree / "core/new.h").write_text("int z;\n")
        output = self.run_try("--diff", "--seconds", "1", "--engines", "random", status=0)
        self.assertIn("Trying the uncommitted change (core/new.h)", output)


class InterruptTest(TryFixture):
    def interrupt(self, ready, *options: str, **env: str):
        process = self.start("change.patch", *options, **env)
        deadline = time.monotonic() + 60
        while not ready():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        output = process.communicate(timeout=60)[0]
        self.assertEqual(process.returncode, 2, output)
        self.assertIn("stopped before there was a verdict", output)
        self.assert_clean()

    def log_has(self, text: str):
        log = self.home / "log"
        return lambda: log.exists() and text in log.read_text()

    def test_while_it_builds(self):
        self.interrupt(self.log_has("build"), "--engines", "random", FAKE_BUILD="slow")

    def test_while_it_makes_the_scenario_smaller(self):
        self.fake("reproduce_bin", "#!/bin/sh\ntouch $4.begun\nsleep 100\n")
        process = self.start("change.patch", "--engines", "random", "--keep", "kept", FAKE_SEARCH="17")
        deadline = time.monotonic() + 60
        while not (self.home / "kept/scenario.txt.begun").exists():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        output = process.communicate(timeout=60)[0]
        self.assertEqual(process.returncode, 1, output)
        self.assertIn("BROKEN: O5", output)
        self.assertNotIn("before there was a verdict", output)

    def test_while_it_searches(self):
        self.interrupt(self.log_has("libfuzzer"), "--engines", "libfuzzer", "--seconds", "600")


@unittest.skipIf(not REAL, "no programs given")
class RealTest(TryFixture):
    """A real mutant's programs and the real engines; only the build is not real."""

    def test_a_mutant_is_broken(self):
        names = {"search": "search_bin", "reproduce": "reproduce_bin", "libfuzzer": "shootdown_libfuzzer",
                 "afl": "shootdown_afl"}
        self.env["SHOOTDOWN_MUTANT"] = REAL[0].name.rpartition("_")[0]
        for program in REAL:
            fake = self.programs / names[program.name.rpartition("_")[2]]
            fake.unlink(missing_ok=True)
            fake.symlink_to(program)
        for engine in ("random", "libfuzzer", "afl"):
            output = self.run_try("change.patch", "--engines", engine, "--seconds", "60", "--keep",
                                  engine, status=1)
            self.assertRegex(output, "BROKEN: O(10|1|4) ")
            self.assertIn("INTERLEAVING", output)
            self.assertTrue((self.home / engine / "scenario.txt").read_text().startswith(
                "shootdown-scenario"))


if __name__ == "__main__":
    unittest.main()
