"""Linux's own TLB code, unmodified, on the modelled machine: silent as it is, each undone fix is found and told with
the kernel's lines, small programs are proved, and what cannot be tried is told."""

import contextlib
import difflib
import errno
import io
import re
import subprocess
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from fuzz.campaign.paths import program
from ports.harness import foreign
from ports.linux import linux, tree, undone
from tests.ports import trees

_SEEDS = (1, 1000000, 2000000)
_PROGRAMS = program("ports/linux/programs")
# Programs whose exploration takes longer than a test should, by the memory model.
_LONG = {"sc": {"two_flushes"},
         "tso": {"two_flushes", "lazy_and_freed_table", "isolated_full_flush", "isolated_unmap_and_read",
                 "switch_in_and_protect", "switch_in_and_unmap", "lazy_exit_and_unmap"}}

_TWO_GO = """\
shootdown-scenario 1
config cpus=4 mms=1 pcid=1 concurrent=1 ceiling=33
cpu 0: reclaim mm=0 page=0
cpu 0: offline
cpu 2: leave
cpu 2: flush_all
cpu 3: flush_all
cpu 3: offline
at +0: preempt cpu=3
at +220: preempt cpu=3
at +85: preempt cpu=2
at +8: preempt cpu=0
"""


class LinuxTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def run_command(self, command, *arguments):
        """The exit status, and what was printed."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = linux.main(command, list(map(str, arguments)))
        return status, out.getvalue(), err.getvalue()

    def copy_of(self, source, **changes):
        """A tree of the files that are used, each changed by a function of its text."""
        target = self.folder / "tree"
        for name, text in tree.read_tree(source).items():
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(changes.get(path.stem, str)(text))
        return target

    # ---- As it is

    def check_silent(self, version):
        source = trees.need(version)
        run = linux.Run(self.folder)
        files = tree.read_tree(source)
        for memory in ("sc", "tso"):
            for pti in ("off", "on"):
                with self.subTest(memory=memory, pti=pti):
                    status, text = run.search(files, ["--executions", "10000", "--memory", memory, "--pti", pti,
                                                      "--tables", "deferred"])
                    self.assertEqual(status, 0, text)
                    self.assertRegex(text, r"^clean after 10000 executions, \d{7,} visible operations\n")

    def test_silent_6_12(self):
        self.check_silent("6.12")

    def test_silent_6_1(self):
        self.check_silent("6.1")

    def test_tables_that_are_freed_behind_the_flush(self):
        """A CPU inside a switch has left the mask, and CR3 still holds the old root."""
        for version in trees.VERSIONS:
            source = trees.need(version)
            arguments = ["--source", source, "--executions", 20000, "--pti", "off"]
            status, out, err = self.run_command("fuzz", *arguments, "--tables", "direct")
            self.assertEqual(status, 1, (out, err))
            self.assertRegex(out, r"^found O5 a page table is released while a CPU can walk it ")
            self.assertRegex(out, r"write mm\d\.cpu_bitmap = \d+ .*tlb\.c:\d+\n")
            status, out, err = self.run_command("fuzz", *arguments, "--tables", "deferred")
            self.assertEqual(status, 0, (out, err))

    def test_two_cpus_that_go_offline_at_once(self):
        """The first that is gone must not let the others go on while the second still goes."""
        source = trees.need("6.1")
        scenario = self.folder / "offline.txt"
        scenario.write_text(_TWO_GO)
        status, out, err = self.run_command("reproduce", "--source", source, scenario)
        self.assertEqual(status, 0, (out, err))
        self.assertEqual(out.count("== offline"), 2, out)

    # ---- Fixes undone

    def check_undone(self, version, rules, seeds=_SEEDS):
        source = trees.need(version)
        run = linux.Run(self.folder)
        files = tree.read_tree(source)
        for rule in rules:
            text = undone.apply(rule, files[rule.file])
            self.assertIsNotNone(text, rule.name)
            for seed in seeds:
                with self.subTest(rule=rule.name, seed=seed):
                    status, told = run.search({**files, rule.file: text},
                                              ["--seed", str(seed), "--executions", "1500000", "--tables", "deferred",
                                               *rule.options])
                    self.assertEqual(status, 1, told)
                    self.assertRegex(told, rf"^found ({rule.oracles}) ")
                    self.assertRegex(told, r" (tlb|smp)\.c:\d+\n")

    def test_undone_6_12_first_half(self):
        self.check_undone("6.12", undone.UNDONE[:8])

    def test_undone_6_12_second_half(self):
        self.check_undone("6.12", undone.UNDONE[8:])

    def test_undone_6_1(self):
        self.check_undone("6.1", undone.UNDONE, _SEEDS[2:])

    # ---- Proofs

    def test_programs(self):
        source = trees.need("6.12")
        run = linux.Run(self.folder)
        files = tree.read_tree(source)
        killers = set()
        for path in sorted(_PROGRAMS.glob("*.txt")):
            killer = re.search(r"^# killer: (\w+)$", path.read_text(), re.MULTILINE)[1]
            rule = undone.undone(killer)
            killers.add(killer)
            for memory in ("sc", "tso"):
                options = ["--explore", str(path), "--memory", memory, "--executions", "1000000"]
                with self.subTest(program=path.stem, memory=memory):
                    if path.stem not in _LONG[memory]:
                        status, text = run.search(files, options)
                        self.assertEqual(status, 0, text)
                        self.assertIn("\ncomplete: every interleaving that can make a difference\n", text)
            memory = "tso" if "tso" in rule.options or path.stem == "two_flushes" else "sc"
            options = ["--explore", str(path), "--memory", memory, "--executions", "1000000"]
            broken = {**files, rule.file: undone.apply(rule, files[rule.file])}
            with self.subTest(program=path.stem, killer=killer):
                status, text = run.search(broken, options)
                self.assertEqual(status, 1, text)
        self.assertGreaterEqual(len(killers), 12)

    # ---- The commands

    def test_a_scenario_is_kept_and_reproduced(self):
        source = trees.need("6.12")
        kept = self.folder / "found.txt"
        arguments = ["--source", source, "--undo", "batch_flushed_here_only"]
        status, first, err = self.run_command("fuzz", *arguments, "--pti", "off", "--out", kept)
        self.assertEqual(status, 1, (first, err))
        status, again, err = self.run_command("reproduce", *arguments, kept)
        self.assertEqual(status, 1, (again, err))
        # Pointers differ from run to run.
        plain = [re.sub(r"\d{9,}|trace \w+", "", text) for text in (first, again)]
        self.assertEqual(plain[0].partition("\n\n")[2], plain[1])
        status, out, err = self.run_command("reproduce", "--source", source, kept)
        self.assertEqual(status, 0, (out, err))

    def test_what_is_found_does_not_depend_on_what_ran_before(self):
        source = trees.need("6.12")
        kept = self.folder / "found.txt"
        arguments = ["--source", source, "--undo", "generation_before_mask"]
        status, out, err = self.run_command("fuzz", *arguments, "--pti", "off", "--seed", 100000,
                                            "--executions", 300000, "--out", kept)
        self.assertEqual(status, 1, (out, err))
        seed = re.search(r"\(seed (\d+)\)", out)[1]
        self.assertGreater(int(seed), 103000)
        status, out, err = self.run_command("reproduce", *arguments, kept)
        self.assertEqual(status, 1, (out, err))
        status, out, err = self.run_command("fuzz", *arguments, "--pti", "off", "--seed", seed, "--executions", 1)
        self.assertEqual(status, 1, (out, err))

    def test_crashes_of_the_code_are_found(self):
        """Each with a scenario that does it again, and the line."""
        source = trees.need("6.12")
        flush = r"(?s)(\nstatic void flush_tlb_func\(void \*info\)\n\{\n.*?\n\n)"
        for text, oracle in (("*(volatile long *)8 = 1;", "uses memory that it was not given"),
                             ("asm volatile(\"ud2\");", "comes to an instruction that is none"),
                             ("for (;;) asm volatile(\"nop\");", "loops, and does nothing that another CPU could")):
            with self.subTest(text=text):
                broken = self.copy_of(source, tlb=lambda old, text=text: re.sub(flush, rf"\g<1>{text}\n", old, 1))
                kept = self.folder / "crash.txt"
                status, out, err = self.run_command("fuzz", "--source", broken, "--out", kept)
                self.assertEqual(status, 1, (out, err))
                self.assertRegex(out, rf"^found KERNEL the code {oracle}")
                self.assertRegex(out, r"\n  It is at tlb\.c:\d+\.\n")
                status, out, err = self.run_command("reproduce", "--source", broken, kept)
                self.assertEqual(status, 1, (out, err))

    def test_what_cannot_be_written(self):
        source = trees.need("6.12")
        status, _, err = self.run_command("fuzz", "--source", source, "--out", self.folder / "nowhere/found.txt")
        self.assertEqual(status, 2)
        self.assertRegex(err, r"^search: .*nowhere/found\.txt: ")
        with mock.patch.object(tree.Builder, "build", side_effect=OSError(errno.ENOSPC, "No space left on device")):
            status, _, err = self.run_command("fuzz", "--source", source)
        self.assertEqual(status, 2)
        self.assertRegex(err, r"^fuzz: .*No space left on device\n$")

    def test_a_patch_is_tried(self):
        source = trees.need("6.12")
        broken = undone.apply(undone.undone("batch_flushed_here_only"), (source / undone.TLB).read_text())
        line = next(number for number, (old, new) in enumerate(
            zip((source / undone.TLB).read_text().splitlines(), broken.splitlines())) if old != new)
        patch = self.folder / "change.patch"
        old, new = ((text.splitlines()[line]) for text in ((source / undone.TLB).read_text(), broken))
        patch.write_text(f"--- a/{undone.TLB}\n+++ b/{undone.TLB}\n@@ -{line + 1} +{line + 1} @@\n-{old}\n+{new}\n")
        status, out, err = self.run_command("fuzz", "--source", source, "--patch", patch, "--pti", "off")
        self.assertEqual(status, 1, (out, err))
        self.assertRegex(out, r"^found O20 ")
        patch.write_text("--- a/mm/memory.c\n+++ b/mm/memory.c\n@@ -1 +1 @@\n-a\n+b\n")
        status, out, err = self.run_command("fuzz", "--source", source, "--patch", patch)
        self.assertEqual(status, 2)
        self.assertIn("changes nothing that runs here", err)

    def test_a_change_is_compared_with_a_revision(self):
        clean = tree.read_tree(trees.need("6.12"))
        source = self.copy_of(trees.need("6.12"))
        git = ["git", "-C", str(source), "-c", "user.email=none", "-c", "user.name=none"]
        for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "before"]):
            subprocess.run([*git, *words], check=True)
        arguments = ["--source", source, "--diff", "HEAD", "--executions", 3000, "--pti", "off"]
        status, _, err = self.run_command("fuzz", *arguments)
        self.assertEqual(status, 2)
        self.assertIn("nothing that runs here differs from HEAD", err)
        (source / undone.TLB).write_text(clean[undone.TLB].replace("smp_mb();", "smp_mb(); smp_mb();"))
        status, out, err = self.run_command("fuzz", *arguments)
        self.assertEqual(status, 0, (out, err))
        self.assertIn("\n1 of 1 changed lines are compiled, 1 of them ran\n", out)
        (source / undone.TLB).write_text(undone.apply(undone.undone("batch_flushed_here_only"), clean[undone.TLB]))
        status, out, err = self.run_command("fuzz", *arguments)
        self.assertEqual(status, 1, (out, err))
        self.assertRegex(out, r"^found O20 ")
        self.assertRegex(out, r"\nHEAD is clean in the same search: clean after 3000 executions")

    def test_a_change_that_was_not_tried(self):
        """Clean would say nothing of it."""
        source = trees.need("6.12")
        text = (source / undone.TLB).read_text()
        flush = "static void flush_tlb_func(void *info)\n"
        for old, new, why in ((flush, f"/* more */\n{flush}", "the same without it"),
                              (flush, f"#ifdef NOT_THERE\nNO SYNTAX in it\n#endif\n{flush}", "the same without it"),
                              ("len = sprintf(", "len = 1 + sprintf(", "no changed line has run")):
            with self.subTest(new=new):
                patch = self.folder / "change.patch"
                self.assertIn(old, text)
                patch.write_text("".join(difflib.unified_diff(
                    text.splitlines(True), text.replace(old, new).splitlines(True),
                    f"a/{undone.TLB}", f"b/{undone.TLB}")))
                status, out, err = self.run_command("fuzz", "--source", source, "--patch", patch, "--executions", 1000)
                self.assertEqual(status, 2, (out, err))
                self.assertRegex(err, rf"THE CHANGE WAS NOT TRIED: .*{why}")

    def test_coverage(self):
        source = trees.need("6.12")
        status, out, err = self.run_command("coverage", "--source", source, "--executions", 5000)
        self.assertEqual(status, 0, (out, err))
        ran = re.search(r"^tlb\.c: (\d+) of (\d+) lines with accesses ran", out, re.MULTILINE)
        self.assertIsNotNone(ran, out)
        self.assertGreater(int(ran[1]), 90)

    def test_what_cannot_be_tried(self):
        source = trees.need("6.12")
        status, _, err = self.run_command("fuzz", "--source", self.folder / "nowhere")
        self.assertEqual(status, 2)
        self.assertIn("tools/setup --linux", err)
        (self.folder / "empty").mkdir()
        status, _, err = self.run_command("fuzz", "--source", self.folder / "empty")
        self.assertEqual(status, 2)
        self.assertIn("has no arch/x86/mm/tlb.c", err)
        status, _, err = self.run_command("fuzz", "--source", source, "--undo", "nothing_like_that")
        self.assertEqual(status, 2)
        self.assertIn("--undo list", err)

    def test_what_the_shim_lacks_is_named(self):
        source = trees.need("6.12")
        broken = self.copy_of(source, tlb=lambda text: text + "\nint new_function(void) { return new_thing + 1; }\n")
        status, _, err = self.run_command("fuzz", "--source", broken)
        self.assertEqual(status, 2)
        self.assertIn("wants what ports/linux/shim/shim.h lacks: new_thing", err)
        broken = self.copy_of(source, tlb=lambda text: text + "\nvoid f(void) { asm volatile(\"cli\"); }\n")
        status, _, err = self.run_command("fuzz", "--source", broken)
        self.assertEqual(status, 2)
        self.assertIn("has an instruction that the model does not see: cli", err)
        broken = self.copy_of(source, tlb=lambda text: text + "\nvoid other_function(void);\n"
                                                              "void f(void) { other_function(); }\n")
        status, _, err = self.run_command("fuzz", "--source", broken)
        self.assertEqual(status, 2)
        self.assertIn("other_function", err)

    def test_a_rule_must_fit(self):
        self.assertIsNone(undone.apply(undone.UNDONE[0], "int main(void) { return 0; }"))
        with self.assertRaises(foreign.ForeignError):
            linux._with_rule({undone.TLB: ""}, undone.UNDONE[0].name)  # pylint: disable=protected-access


if __name__ == "__main__":
    unittest.main()
