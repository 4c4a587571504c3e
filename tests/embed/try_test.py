"""Memory management that is not ours on the modelled machine: the example kernel's is clean, each way to break it is
found and told with the lines of its code, and what cannot be tried is told."""

import contextlib
import importlib.util
import io
import re
import tempfile
import unittest
from pathlib import Path

from fuzz.campaign.paths import program

# By its path: its folder's name is none that an import could have.
_SPEC = importlib.util.spec_from_file_location("try_port", program("kernel-glue/embed/port/try_port.py"))
try_port = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(try_port)

_EXAMPLE = program("examples/kernel_c")
_GLUE = _EXAMPLE / "on_model.c"
_STORE_BUFFERS = program("tests/embed/store_buffers.c")
_SEEDS = (1, 1000000, 2000000)

_NO_FLUSH = ("if (!flush_is_left_out)", "if (0)")
_NO_LOCK = (("  lock(&space->lock);\n", ""), ("  unlock(&space->lock);\n", ""))
# Freed tables by a flush that spares lazy CPUs.
_PLAIN_FLUSH = (("sd_flush_freed_tables(", "sd_flush_range("),
                ("    sd_token walked = sd_exclude_walkers(&machine, &token);\n", ""),
                ("sd_require(&machine, &walked, &space->mm, SD_DATA | SD_TABLES)",
                 "sd_require(&machine, &token, &space->mm, SD_DATA)"))
_FREE_FIRST = (("sd_token token = sd_flush_page(&machine",
                "free_frame(old & FRAME); sd_token token = sd_flush_page(&machine"),
               ("  free_frame(old & FRAME);\n}\n\nvoid unmap_table", "}\n\nvoid unmap_table"))
_LEAK = ("  free_frame(old & FRAME);\n}\n\nvoid unmap_table", "}\n\nvoid unmap_table")
_FREE_TWICE = ("  free_frame(old & FRAME);\n}\n\nvoid unmap_table",
               "  free_frame(old & FRAME); free_frame(old & FRAME);\n}\n\nvoid unmap_table")
_KEEP_ENTRY = ("uint64_t old = entry != NULL ? take(entry) : 0;", "uint64_t old = entry != NULL ? *entry : 0;")
_PLAIN_STORES = (("return __atomic_exchange_n(entry, 0, __ATOMIC_SEQ_CST);",
                  "uint64_t old = *entry; *entry = 0; return old;"),
                 ("__atomic_store_n(entry, value, __ATOMIC_RELEASE);", "*entry = value;"))
_BUFFERED_CLEAR = ("return __atomic_exchange_n(entry, 0, __ATOMIC_SEQ_CST);",
                   "uint64_t old = *entry; __atomic_store_n(entry, 0, __ATOMIC_RELEASE); return old;")
# At the end of memory.c.
_PROTECT = """
void kit_protect(void* of, uint64_t address) {
  struct space* space = of;
  lock(&space->lock);
  __atomic_fetch_and(find(space, address, 1, 0), ~WRITABLE, __ATOMIC_SEQ_CST);
  unlock(&space->lock);
  sd_token token = sd_flush_page(&machine, &space->mm, address);
  sd_require(&machine, &token, &space->mm, SD_DATA);
}
void kit_unprotect(void* of, uint64_t address) {
  struct space* space = of;
  lock(&space->lock);
  __atomic_fetch_or(find(space, address, 1, 0), WRITABLE, __ATOMIC_SEQ_CST);
  unlock(&space->lock);
}
"""


class TryTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def example(self, *changes):
        """memory.c with each change made, which must be one."""
        text = (_EXAMPLE / "memory.c").read_text()
        for old, new in changes:
            self.assertIn(old, text)
            text = text.replace(old, new)
        path = self.folder / "memory.c"
        path.write_text(text)
        return path

    def file(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return path

    def run_try(self, *sources, options=(), compiler=()):
        """The exit status, and what was printed."""
        out, err = io.StringIO(), io.StringIO()
        arguments = [word for source in sources for word in ("--source", str(source))]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = try_port.main([*arguments, *map(str, options), "--", *compiler])
        return status, out.getvalue(), err.getvalue()

    def found(self, *changes, by, within, memory=None, glue=_GLUE):
        """Each seed finds it; the last story."""
        source = self.example(*changes)
        for seed in _SEEDS:
            options = ["--seed", seed, "--executions", within] + (["--memory", memory] if memory else [])
            status, out, err = self.run_try(source, glue, options=options)
            self.assertEqual(status, 1, (seed, out, err))
            self.assertRegex(out, rf"^found ({by}) ")
        return out

    def test_the_example_is_clean(self):
        for memory in ("sc", "tso"):
            with self.subTest(memory):
                status, out, err = self.run_try(self.example(), _GLUE,
                                                options=["--executions", 6000, "--memory", memory])
                self.assertEqual(status, 0, (out, err))
                self.assertRegex(out, r"^clean after 6000 executions, \d{6,} visible operations\n")

    def test_plain_stores_to_entries_are_seen(self):
        status, out, err = self.run_try(self.example(*_PLAIN_STORES), _GLUE, options=["--executions", 3000])
        self.assertEqual(status, 0, (out, err))
        self.found(*_PLAIN_STORES, _NO_FLUSH, by="O1|O2|O5|O6", within=200)

    def test_a_missing_flush_is_found_and_told(self):
        for memory in ("sc", "tso"):
            story = self.found(_NO_FLUSH, by="O1|O2|O5|O6", within=200, memory=memory)
        self.assertIn("\nSCENARIO\n", story)
        self.assertRegex(story, r"cpu0 +(cpu1 +)?where\n")
        self.assertRegex(story, r"write mm0\.\w+\[\d+\] = 0 +memory\.c:\d+\n")
        self.assertNotIn("{0x", story)
        self.assertIn("\nVERDICT\n", story)

    def test_a_page_that_stays_reachable_and_is_never_freed(self):
        # Only the change of the entry says that what is cached is old.
        glue = re.sub(r"void kit_unmap_table.*", "", _GLUE.read_text())
        # Only what is there at first is mapped: nothing comes to the same place.
        glue = self.file("glue.c", glue.replace("{ map_page(", "{ static unsigned maps; if (maps++ < 4) map_page("))
        for memory, stores in (("sc", ()), ("sc", _PLAIN_STORES), ("tso", ()), ("tso", [_BUFFERED_CLEAR])):
            with self.subTest(memory=memory, stores=stores):
                self.found(_NO_FLUSH, _LEAK, *stores, by="O2|O21", within=2000, memory=memory, glue=glue)

    def test_a_plain_flush_for_freed_tables(self):
        story = self.found(*_PLAIN_FLUSH, by="O5", within=2000)
        self.assertIn("idle", story)
        self.assertRegex(story, r"cpu0 +cpu1 +where\n")

    def test_a_page_is_freed_before_its_flush(self):
        self.found(*_FREE_FIRST, by="O6", within=2000)

    def test_rights(self):
        end = "  free_frame(space->root);\n}\n"
        with_rights = (end, end + _PROTECT)
        status, out, err = self.run_try(self.example(with_rights), _GLUE, options=["--executions", 3000])
        self.assertEqual(status, 0, (out, err))
        other_page = ("sd_token token = sd_flush_page(&machine, &space->mm, address);\n  sd_require",
                      "sd_token token = sd_flush_page(&machine, &space->mm, address + PAGE);\n  sd_require")
        story = self.found(with_rights, other_page, by="O2|O21", within=2000)
        self.assertIn(": protect", story)
        self.found(with_rights, ("~WRITABLE", "~0x200ULL"), by="O34", within=2000)

    def test_a_frame_is_freed_twice(self):
        self.assertIn("released twice", self.found(_FREE_TWICE, by="O6", within=200))

    def test_an_entry_that_stays(self):
        self.found(_KEEP_ENTRY, by="O6|O34", within=200)

    def test_a_missing_lock_is_found(self):
        self.found(*_NO_LOCK, by=r"O\d+|CODE|CHECK", within=5000)

    def test_store_buffers(self):
        options = ["--cpus", 2, "--executions", 5000, "--memory"]
        status, out, err = self.run_try(_STORE_BUFFERS, options=[*options, "sc"])
        self.assertEqual(status, 0, (out, err))
        status, out, err = self.run_try(_STORE_BUFFERS, options=[*options, "tso"])
        self.assertEqual(status, 1, (out, err))
        self.assertRegex(out, r"store, buffered, wants")
        self.assertRegex(out, r"store, buffered, inside = 1 .*store_buffers\.c:20\n")

    def test_a_scenario_is_kept_and_replayed(self):
        kept = self.folder / "found.txt"
        broken = self.example(_NO_FLUSH)
        status, first, _ = self.run_try(broken, _GLUE, options=["--out", kept])
        self.assertEqual(status, 1)
        status, again, _ = self.run_try(broken, _GLUE, options=["--replay", kept])
        self.assertEqual(status, 1)
        self.assertEqual(first[first.index("SCENARIO"):], again)
        status, mended, _ = self.run_try(self.example(), _GLUE, options=["--replay", kept])
        self.assertEqual(status, 0)
        self.assertIn("ok: every CPU finished", mended)

    def test_c_plus_plus_and_options_for_the_compiler(self):
        glue = _GLUE.read_text().replace("uint64_t kernel_root(void) { return kit_kernel_root(); }\n", "")
        other = self.file("root.cc", '#include "kernel-glue/embed/on_model.h"\n'
                          'extern "C" uint64_t NAME() { return kit_kernel_root(); }\n')
        status, out, err = self.run_try(self.example(), self.file("glue.c", glue), other,
                                        options=["--executions", 200], compiler=["-DNAME=kernel_root"])
        self.assertEqual((status, err), (0, ""), out)

    def test_code_that_does_not_compile(self):
        status, out, err = self.run_try(self.example(("int flush_is_left_out;", "int flush_is_left_out")), _GLUE)
        self.assertEqual((status, out), (2, ""))
        self.assertRegex(err, r"memory\.c:\d+:\d+: error: expected ';'")
        self.assertIn("does not compile", err)

    def test_a_function_that_is_missing(self):
        glue = self.file("glue.c", _GLUE.read_text().replace("kit_unmap(", "un("))
        status, out, err = self.run_try(self.example(), glue)
        self.assertEqual((status, out), (2, ""))
        self.assertIn("has no function kit_unmap", err)

    def test_a_function_that_there_is_none_of(self):
        status, out, err = self.run_try(self.example(("free_frame(space->root);", "give_back(space->root);")), _GLUE,
                                        compiler=["-Wno-implicit-function-declaration"])
        self.assertEqual((status, out), (2, ""))
        self.assertIn("give_back", err)

    def test_code_that_crashes(self):
        status, out, err = self.run_try(self.example(("uint64_t old = entry != NULL ? take(entry) : 0;",
                                                      "uint64_t old = *(volatile uint64_t*)8;")), _GLUE)
        self.assertEqual(status, 1, (out, err))
        self.assertRegex(out, r"^found KERNEL the code uses memory that it was not given ")
        self.assertRegex(out, r"\n  It is at \w+\.c:\d+\.\n")

    def test_wrong_arguments(self):
        for arguments in ([], ["--source", "no.c"], ["--source", str(_GLUE), "--cpus", "9"]):
            err = io.StringIO()
            with contextlib.redirect_stderr(err):
                self.assertEqual(try_port.main(arguments), 2)
            self.assertTrue(err.getvalue().startswith("try: "))


if __name__ == "__main__":
    unittest.main()
