#!/usr/bin/python3
"""The commands at the top of the tree, in a small tree of their own with a stand-in for Bazel."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

COMMANDS = ["test", "run", "tools/bazel", "tools/lint", "tools/run_tests.py", "tools/demo.py"]
SOURCES = {name: os.path.abspath(name) for name in COMMANDS}
# One test target that passes. Says how it was started.
BAZEL = """#!/bin/bash
echo "bazel: $*"
for word; do
  case $word in --build_event_json_file=*) events=${word#*=} ;; esac
done
[ -z "${events:-}" ] || cat >"$events" <<'EVENTS'
{"id": {"targetConfigured": {"label": "//a:t"}}, "configured": {"testSize": "SMALL"}}
{"id": {"targetCompleted": {"label": "//a:t"}}, "completed": {"success": true}}
{"id": {"testSummary": {"label": "//a:t"}}, "testSummary": {"overallStatus": "PASSED"}}
EVENTS
exit ${BAZEL_STATUS:-0}
"""
STAND_IN = "#!/bin/bash\necho \"{name}: $*\"\nexit ${{{name}_STATUS:-0}}\n"


class Tree(unittest.TestCase):
    def setUp(self):
        self.root = Path(self.enterContext(tempfile.TemporaryDirectory())) / "a tree"
        (self.root / "tools").mkdir(parents=True)
        for name, source in SOURCES.items():
            shutil.copy(source, self.root / name)
        self.write("tools/setup", STAND_IN.format(name="SETUP"))
        self.write("bin/bazel", BAZEL)
        self.env = {**os.environ, "PATH": f"{self.root}/bin:/usr/bin:/bin", "HOME": str(self.root)}
        self.env.pop("BAZEL_REAL", None)

    def write(self, name: str, text: str):
        path = self.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def call(self, *words: str, **env: str) -> tuple[int, str]:
        done = subprocess.run(["/bin/bash", "-c", 'exec "$@"', "bash", *words], cwd=self.root,
                              env={**self.env, **env}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, check=False, timeout=60)
        return done.returncode, done.stdout


class CommandsTest(Tree):
    def test_help_installs_nothing_and_runs_nothing(self):
        for words, text in [(("./test", "--help"), "usage: ./test"), (("./run", "-h"), "usage: demo.py"),
                            (("tools/lint", "--help"), "usage: tools/lint"),
                            (("tools/run_tests.py", "--help"), "usage: ./test")]:
            with self.subTest(words):
                status, output = self.call(*words)
                self.assertEqual(status, 0, output)
                self.assertIn(text, output)
                self.assertNotIn("SETUP", output)
                self.assertNotIn("bazel:", output)

    def test_the_linter_is_a_part_of_every_test(self):
        for lint, closing in [("0", "2 passed, 0 failed"), ("1", "1 passed, 1 failed"),
                              ("2", "1 passed, 1 failed")]:
            self.write("tools/lint", STAND_IN.format(name="LINT"))
            status, output = self.call("./test", LINT_STATUS=lint)
            self.assertEqual(output.splitlines()[-1], closing)
            self.assertEqual(status, int(lint != "0"))
            self.assertIn("LINT: \n", output)
            self.assertEqual("FAILED: tools/lint" in output, lint != "0")

    def test_the_linter_is_no_part_of_some_tests(self):
        self.write("tools/lint", STAND_IN.format(name="LINT"))
        for words, env in [(("//a:t",), {}), (("--test_filter=x", "//a/..."), {}), ((), {"BAZEL_STATUS": "8"})]:
            self.assertNotIn("LINT", self.call("./test", *words, **env)[1])

    def test_quick_runs_a_part_and_says_which_not(self):
        self.write("tools/lint", STAND_IN.format(name="LINT"))
        status, output = self.call("./test", "--quick", "--test_filter=x")
        self.assertEqual((status, output.splitlines()[-1]), (0, "1 passed, 0 failed"), output)
        self.assertNotIn("LINT", output)
        self.assertIn("Left out by --quick: ", output)
        [bazel] = [line for line in output.splitlines() if line.startswith("bazel: ")]
        self.assertIn("--test_filter=x --build_tests_only --test_tag_filters=-asan,-tsan,", bazel)
        self.assertIn("//tests/core/...", bazel)
        self.assertNotIn("--quick", bazel)
        self.assertNotIn("//... ", bazel + " ")
        self.assertNotIn("Left out", self.call("./test")[1])

    def test_quick_takes_no_targets(self):
        status, output = self.call("./test", "--quick", "//a:t")
        self.assertEqual(status, 2, output)
        self.assertNotIn("bazel:", output)
        self.assertIn("so //a:t cannot be named with it", output)

    def test_bazel_typed_by_hand_finds_bazel(self):
        self.assertEqual(self.call("tools/bazel", "run", "//x"), (0, "bazel: run //x\n"))

    def test_bazel_that_is_first_in_the_path_does_not_find_itself(self):
        path = f"{self.root}/tools:{self.root}/bin:/usr/bin:/bin"
        self.assertEqual(self.call("bazel", "run", PATH=path), (0, "bazel: run\n"))

    def test_bazel_that_is_named_is_taken(self):
        self.write("other", "#!/bin/bash\necho other $*\n")
        self.assertEqual(self.call("tools/bazel", "info", BAZEL_REAL=str(self.root / "other")),
                         (0, "other info\n"))

    def test_bazel_real_that_is_no_program_is_named(self):
        for wrong in (self.root / "nothing", self.root):
            status, output = self.call("tools/bazel", "info", BAZEL_REAL=str(wrong))
            self.assertEqual((status, output.count("\n")), (2, 1), output)
            self.assertIn(f"BAZEL_REAL names {wrong}, which is no program", output)

    def test_no_bazel(self):
        (self.root / "bin/bazel").unlink()
        (self.root / "bin/id").symlink_to("/usr/bin/id")
        (self.root / "bin/dirname").symlink_to("/usr/bin/dirname")
        status, output = self.call("/bin/bash", "tools/bazel", "run", PATH=str(self.root / "bin"))
        self.assertEqual((status, output.count("\n")), (2, 1), output)
        self.assertIn("tools/bazel: bazel is not installed. tools/setup installs it", output)


class LintTest(Tree):
    """What the linter says of what it cannot look at, and that it remembers what was clean."""

    def setUp(self):
        super().setUp()
        (self.root / "a.h").write_text("int f();\n")
        (self.root / "a.cc").write_text('#include "a.h"\nint f() { return 1; }\n')
        (self.root / ".clang-tidy").write_text("Checks: '-*,modernize-use-nullptr'\nWarningsAsErrors: '*'\n"
                                                "HeaderFilterRegex: '.*'\n")
        (self.root / ".clang-format").write_text("BasedOnStyle: Google\n")
        (self.root / ".gitignore").write_text(".cache\n")
        self.write("tools/compile_commands.py", "#!/bin/bash\n")
        (self.root / "compile_commands.json").write_text(
            '[{"directory": "%s", "file": "a.cc", "arguments": ["/usr/bin/clang-19", "-c", "a.cc", "-o", "a.o"]}]'
            % self.root)
        subprocess.run(["git", "init", "-q"], cwd=self.root, check=True)

    def write_commands(self, names):
        entries = [{"directory": str(self.root), "file": name,
                    "arguments": ["/usr/bin/clang-19", "-iquote", ".", "-c", name, "-o", name + ".o"]}
                   for name in names]
        (self.root / "compile_commands.json").write_text(json.dumps(entries))

    def test_what_cannot_be_looked_at(self):
        (self.root / "docs").mkdir()
        for words, text in [(("/nosuch",), "/nosuch: no such file or folder"),
                            (("/etc",), "/etc: not in this tree"), (("docs",), "no C++ file there"),
                            (("--nonsense",), "unknown option --nonsense")]:
            with self.subTest(words):
                status, output = self.call("tools/lint", *words)
                self.assertEqual((status, output.count("\n")), (2, 1), output)
                self.assertIn("tools/lint: " + text, output)

    def test_no_commands(self):
        self.write("tools/compile_commands.py", "#!/bin/bash\nexit 1\n")
        self.assertEqual(self.call("tools/lint")[0], 2)

    def test_clean_files_are_remembered_until_they_change(self):
        status, output = self.call("tools/lint")
        self.assertEqual((status, output), (0, "clang-tidy a.cc: ok\n"))
        notes = list((self.root / ".cache/lint").iterdir())
        self.assertEqual(len(notes), 1)
        # Were it looked at again, it would be written again.
        before = notes[0].stat().st_mtime_ns
        self.assertEqual(self.call("tools/lint")[0], 0)
        self.assertEqual(notes[0].stat().st_mtime_ns, before)
        (self.root / "a.h").write_text("inline int* f() { return 0; }\n")
        (self.root / "a.cc").write_text('#include "a.h"\n')
        self.assertEqual(self.call("tools/lint", "a.cc")[0], 1)
        (self.root / "a.h").write_text("inline int* f() { return nullptr; }\n")
        self.assertEqual(self.call("tools/lint")[0], 0)
        (self.root / "a.h").write_text("inline int* f() { return 0; }\n")
        status, output = self.call("tools/lint")
        self.assertEqual(status, 1, "the header has changed, and lint has not read it")
        self.assertIn("use nullptr", output)
        self.assertEqual(self.call("tools/lint")[0], 1, "a finding was remembered as clean")

    def test_sources_that_fit_are_read_as_one(self):
        sources = {"a.cc": "int f() { return 1; }\n",
                   "b.cc": "static int g() { return 1; }\nint h() { return g(); }\n",
                   "c.cc": "static int g() { return 2; }\nint i() { return g(); }\n"}
        for name, text in sources.items():
            (self.root / name).write_text(text)
        self.write_commands(sources)
        status, output = self.call("tools/lint")
        self.assertEqual((status, output.count(": ok\n")), (0, 3), output)
        # c.cc has a name of b.cc's, so it is read alone.
        [together] = (self.root / ".cache/lint/together").glob("*.cc")
        self.assertEqual(together.read_text(), '#include "a.cc"\n#include "b.cc"\n')
        notes = {path: path.stat().st_mtime_ns for path in (self.root / ".cache/lint").glob("*.json")}
        self.assertEqual(len(notes), 3)
        self.call("tools/lint")
        self.assertEqual({path: path.stat().st_mtime_ns for path in notes}, notes, "looked at again")
        (self.root / "b.cc").write_text("int* g() { return 0; }\n")
        status, output = self.call("tools/lint")
        self.assertEqual(status, 1, output)
        self.assertIn("use nullptr", output)
        for name in sources:
            self.assertIn(f"{name}: {'FAILED' if name == 'b.cc' else 'ok'}\n", output)

    def test_a_folder_has_rules_of_its_own(self):
        (self.root / "sub").mkdir()
        (self.root / "sub/.clang-tidy").write_text(
            "Checks: '-modernize-use-nullptr,modernize-use-override'\nInheritParentConfig: true\n")
        names = ["sub/a.cc", "sub/b.cc"]
        for name in names:
            (self.root / name).write_text(f"int* {name[4]}() {{ return 0; }}\n")
        self.write_commands(names)
        (self.root / "a.cc").write_text("int f();\n")
        self.assertIn("sub/b.cc: ok", self.call("tools/lint", "sub")[1])
        self.assertTrue(list((self.root / ".cache/lint/together/sub").glob("*.cc")))
        (self.root / "sub/.clang-tidy").unlink()
        shutil.rmtree(self.root / ".cache")
        self.assertEqual(self.call("tools/lint", "sub")[0], 1)

    def test_rules_that_change(self):
        (self.root / "a.cc").write_text("int* f() { return 0; }\n")
        rules = self.root / ".clang-tidy"
        strict = rules.read_text()
        rules.write_text("Checks: '-*,modernize-use-override'\n")
        self.assertEqual(self.call("tools/lint")[0], 0)
        rules.write_text(strict)
        self.assertEqual(self.call("tools/lint")[0], 1)

    def test_format(self):
        (self.root / "a.h").write_text("int   f();\n")
        self.assertEqual(self.call("tools/lint")[0], 1)
        self.assertEqual(self.call("tools/lint", "--fix")[0], 0)
        self.assertEqual((self.root / "a.h").read_text(), "int f();\n")


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
