#!/usr/bin/python3
"""The reproducer on good files, bad files and files that are no scenarios at all.

usage: reproduce_test.py REPRODUCE SCENARIO...
"""

import json
import os
import pty
import random
import re
import signal
import stat
import subprocess
import sys
import tempfile
import unittest

REPRODUCE = None
SCENARIOS = []
OK, FOUND, USAGE = 0, 1, 2
_DEVIATING = ("shootdown-scenario 1\nconfig cpus=2 mms=1\ncpu 0: read page=1\ncpu 0: idle\ncpu 1: idle\n"
              "at +1: evict cpu=0 entry=0\nat +2: preempt cpu=0\n")
# Far longer than any run takes: a hang fails instead of blocking.
SECONDS = 60


def _ignore_the_limit():
    """A file that grows too large is then an error like a full disk, and no signal."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


class ReproduceTest(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory(dir=os.environ.get("TEST_TMPDIR"))
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def path(self, name):
        return os.path.join(self.folder, name)

    def file(self, content, name="scenario"):
        with open(self.path(name), "wb") as out:
            out.write(content if isinstance(content, bytes) else content.encode())
        return self.path(name)

    def reproduce(self, *arguments, stdin=b""):
        done = subprocess.run([REPRODUCE, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, input=stdin,
                              timeout=SECONDS, check=False)
        self.assertIn(done.returncode, (OK, FOUND, USAGE), done.stderr.decode(errors="replace"))
        return done.returncode, done.stdout, done.stderr.decode(errors="replace")

    def refused(self, *arguments):
        """Returns the message of a run that must be refused."""
        status, out, error = self.reproduce(*arguments)
        self.assertEqual(status, USAGE)
        self.assertEqual(out, b"")
        self.assertTrue(error.startswith("reproduce: "), error)
        self.assertEqual(error.count("\n"), 1, error)
        return error

    # ---- Good files

    def test_every_scenario_is_clean_and_told_the_same_twice(self):
        for scenario in SCENARIOS:
            status, story, _ = self.reproduce(scenario)
            self.assertEqual(status, OK, scenario)
            for part in (b"CONFIGURATION", b"SCENARIO", b"INTERLEAVING", b"VERDICT", b"  ok: "):
                self.assertIn(part, story)
            self.assertEqual(self.reproduce(scenario)[1], story, "another process, other addresses")

    def test_bytes_and_text_tell_the_same_story(self):
        for scenario in SCENARIOS:
            _, story, _ = self.reproduce(scenario)
            self.assertEqual(self.reproduce("-o", self.path("out.bin"), scenario)[0], OK)
            self.assertEqual(self.reproduce(self.path("out.bin"))[1], story)

    def test_text_goes_out_as_it_came_in(self):
        for scenario in SCENARIOS:
            _, text, _ = self.reproduce("--text", scenario)
            copy = self.file(text, "copy.txt")
            self.assertEqual(self.reproduce("--text", copy)[1], text)
            self.reproduce("--text", "-o", self.path("again.txt"), copy)
            with open(self.path("again.txt"), "rb") as again:
                self.assertEqual(again.read(), text)

    def test_text_may_begin_with_comments(self):
        status, text, _ = self.reproduce(
            "--text", self.file("# why this matters\n\nshootdown-scenario 1\nconfig cpus=1\n"
                                "cpu 0: read page=3\n"))
        self.assertEqual(status, OK)
        self.assertIn(b"cpu 0: read page=3", text)

    def test_dos_line_ends_are_fine(self):
        unix = b"shootdown-scenario 1\nconfig cpus=1\ncpu 0: read page=3\n"
        self.assertEqual(self.reproduce("--text", self.file(unix.replace(b"\n", b"\r\n")))[1],
                         self.reproduce("--text", self.file(unix))[1])

    def test_a_line_that_does_nothing_is_named_on_standard_error(self):
        text = ("# why\nshootdown-scenario 1\nconfig cpus=2\ncpu 0: read page=1\ncpu 1: idle\n"
                "at +0: fill cpu=0 page=1\n\nat +0: evict cpu=1 entry=0 # nothing there\n"
                "at +200: preempt cpu=1\n")
        path = self.file(text)
        for options in ((), ("--title",)):
            status, out, error = self.reproduce(*options, path)
            self.assertEqual(status, OK)
            self.assertEqual(self.reproduce(*options, path), (status, out, error), "twice the same")
            first, second = error.splitlines()
            self.assertEqual(first, f"reproduce: {path}:8: warning: 'evict cpu=1 entry=0' did nothing: "
                                    "the CPU has nothing cached")
            self.assertTrue(second.startswith(f"reproduce: {path}:9: warning: 'preempt cpu=1' did "
                                              "nothing: its moment never came: the run has "), second)
        self.reproduce("-o", self.path("same.bin"), "--text", path)
        self.assertEqual(self.reproduce(self.path("same.bin"))[2], "", "bytes have no lines")

    def test_title_is_one_line(self):
        self.assertEqual(self.reproduce("--title", SCENARIOS[0])[1], b"ok\n")

    def test_last_limits_the_interleaving(self):
        _, story, _ = self.reproduce(SCENARIOS[0])
        _, short, _ = self.reproduce("--last", "3", SCENARIOS[0])
        self.assertLess(len(short), len(story))
        self.assertIn(b"lines left out", short)
        tail = story[story.index(b"VERDICT"):]
        self.assertTrue(short.endswith(tail))

    def test_last_leaves_no_deviation_and_no_operation_out(self):
        _, story, _ = self.reproduce("--last", "1", self.file(_DEVIATING))
        for part in (b"dev    1      ~~ at +1: evict", b"dev    3      ~~ at +2: preempt", b"== read page=1",
                     b"== idle", b" lines left out"):
            self.assertIn(part, story)
        self.assertEqual(story.count(b"compare-exchange"), 0)

    def test_a_deviation_stands_where_it_acts_with_what_it_did(self):
        _, story, _ = self.reproduce(self.file(_DEVIATING))
        lines = story.decode().split("INTERLEAVING")[1].splitlines()
        at = next(index for index, line in enumerate(lines) if "~~ at +1: evict" in line)
        self.assertIn("[did nothing: the CPU has", "".join(lines[at + 1:at + 3]))
        self.assertIn("load from page 1: walked", "".join(lines[at + 2:at + 4]))
        # What a walk has cached stands below it, decoded.
        self.assertRegex(story.decode(), r"walked[^\n]*\n +\[page 1 -> frame \d+,\n? *writable\]")

    def test_what_a_strategy_does_stands_there_as_deviations(self):
        text = ("shootdown-scenario 1\nconfig cpus=3 mms=2\ncpu 0: unmap mm=0 page=1\ncpu 1: read page=1\n"
                "cpu 1: switch_to mm=1\ncpu 2: read page=1\nat +3: preempt cpu=1\nat +2: aim cpu=2 stream=7\n")
        _, story, _ = self.reproduce(self.file(text))
        deviations = re.findall(r"(?m)^at .*", story.decode())
        self.assertGreater(len(deviations), 2)
        self.assertEqual(re.findall(r"(?m)^dev .*?(?:~~ (.*))?$", story.decode()), deviations)

    def test_entries_and_sets_of_cpus_are_decoded_and_functions_named(self):
        text = ("shootdown-scenario 1\nconfig cpus=2 mms=1\ncpu 0: unmap mm=0 page=1\ncpu 1: read page=1\n"
                "at +0: preempt cpu=1\n")
        _, story, _ = self.reproduce(self.file(text), "--width", "190")
        for part in (r"write mm0\.table\[505\] = page 1 -> none +mapping\.h:\d+ clear_pages",
                     r"load mm0\.cpu_mask = \{0,1\}", r"\[stale now: page 1 on cpu1\]",
                     r"compare-exchange cpu1\.pending\[0\] = \{0\}", r"\[drops the stale page 1\]"):
            self.assertRegex(story.decode(), part)

    def test_the_width_is_that_of_a_line(self):
        for width in (80, 120, 160):
            _, story, _ = self.reproduce("--width", str(width), self.file(_DEVIATING))
            lines = re.search(r"(?s)INTERLEAVING[^\n]*\n(.*)VERDICT", story.decode())[1].splitlines()
            self.assertGreater(max(map(len, lines)), width - 30)
            self.assertEqual([line for line in lines if len(line) > width], [], width)

    def test_colour_is_for_terminals_and_for_those_that_ask(self):
        plain = self.reproduce(SCENARIOS[0])[1]
        self.assertNotIn(b"\033", plain)
        coloured = self.reproduce("--colour", "always", SCENARIOS[0])[1]
        self.assertIn(b"\033[1m", coloured)
        self.assertEqual(re.sub(rb"\033\[[0-9;]*m", b"", coloured), plain)
        for environment, wanted in (({}, True), ({"NO_COLOR": "1"}, False)):
            leader, follower = pty.openpty()
            done = subprocess.run([REPRODUCE, "--last", "1", self.file(_DEVIATING)], stdout=follower,
                                  stderr=subprocess.DEVNULL, env=os.environ | environment, check=False)
            os.close(follower)
            told = os.read(leader, 1 << 16)
            os.close(leader)
            self.assertEqual((done.returncode, b"\033[33m" in told), (OK, wanted))

    def test_several_files_and_standard_input(self):
        files = [SCENARIOS[0], self.file(_DEVIATING)]
        status, both, _ = self.reproduce(*files)
        self.assertEqual(status, OK)
        for file in files:
            self.assertIn(f"==> {file} <==\n".encode() + self.reproduce(file)[1], both)
        self.assertEqual(self.reproduce("--title", *files)[1].decode(), "".join(f"{file}: ok\n" for file in files))
        self.assertEqual(self.reproduce("-", stdin=_DEVIATING.encode())[1], self.reproduce(files[1])[1])
        status, told, error = self.reproduce("--title", self.path("nowhere"), SCENARIOS[0])
        self.assertEqual((status, error.count("nowhere")), (USAGE, 1))
        self.assertIn(b"ok\n", told)

    def test_the_record_is_json_of_all_that_is_told(self):
        for scenario in SCENARIOS:
            status, out, _ = self.reproduce("--json", scenario)
            record = json.loads(out)
            self.assertEqual((status, out.count(b"\n")), (OK, 1))
            story = self.reproduce(scenario)[1].decode()
            self.assertEqual((record["version"], record["file"], record["title"], record["verdict"]),
                             (1, scenario, "ok", None))
            self.assertIn(record["configuration"], story)
            self.assertIn("\n".join(record["scenario"]), story)
            self.assertIn(f"{record['steps']} visible operations, trace {record['trace']}", story)
            self.assertEqual([item["text"] for item in record["items"] if item["kind"] == "other"], [])
            for item in record["items"]:
                self.assertIn(item["text"].split()[0], story)
        self.assertEqual(self.reproduce("--json", *SCENARIOS)[1].count(b"\n"), len(SCENARIOS))

    def test_changes_lead_from_one_state_to_the_next(self):
        text = ("shootdown-scenario 1\nconfig cpus=2 mms=1 tso=1\ncpu 0: unmap mm=0 page=1\ncpu 1: read page=1\n"
                "cpu 1: idle\nat +0: preempt cpu=1\nat +9: fill cpu=1 page=0 level=1\n")
        record = json.loads(self.reproduce("--json", self.file(text))[1])
        state, seen = dict(record["start"]), set()
        for item in record["items"]:
            for place, what in item.get("changes", {}).items():
                self.assertNotEqual(state.get(place), what, (place, item))
                seen.add(re.sub(r"\d+", "N", place))
                if what is None:
                    del state[place]
                else:
                    state[place] = what
        self.assertLessEqual({"cpuN/tlb/N", "cpuN/buffer/N", "cpuN/lazy", "cpuN/interrupts", "mmN/generation",
                              "mmN/page/N"}, seen)
        self.assertNotIn("mm0/page/1", state)
        for link in record["links"]:
            sent, arrived = (record["items"][link[end]] for end in ("from", "to"))
            self.assertLess(link["from"], link["to"])
            self.assertEqual((sent["kind"], arrived["kind"]),
                             {"drain": ("buffered", "drain"), "interrupt": ("send", "interrupt")}[link["kind"]])
        self.assertIn("drain", {link["kind"] for link in record["links"]})

    def test_a_change_stands_at_the_line_that_makes_it(self):
        text = ("shootdown-scenario 1\nconfig cpus=2 mms=1\ncpu 0: unmap mm=0 page=1\ncpu 1: read page=1\n"
                "at +0: preempt cpu=1\n")
        items = json.loads(self.reproduce("--json", self.file(text))[1])["items"]
        # Before the line is told, behind it, and by code that makes no visible operation.
        for kind, place in (("access", "cpu1/tlb/1"), ("store", "mm0/page/1"), ("send", "cpu1/waits/call"),
                            ("interrupt", "cpu1/handler"), ("invalidate", "cpu0/asid/1")):
            found = [item["kind"] for item in items if place in item.get("changes", {})]
            self.assertEqual(found[:1], [kind], place)

    def test_minimising_what_is_clean_changes_nothing(self):
        _, story, _ = self.reproduce(SCENARIOS[0])
        status, minimised, _ = self.reproduce("--minimise", SCENARIOS[0])
        self.assertEqual((status, minimised), (OK, story))

    def test_help_is_no_error(self):
        status, out, error = self.reproduce("--help")
        self.assertEqual((status, error), (OK, ""))
        self.assertIn(b"usage:", out)

    # ---- Files that are cut or no scenarios

    def test_what_is_no_scenario_is_refused_with_the_reason(self):
        text = b"shootdown-scenario 1\nconfig\ncpu 0: idle\n"
        for content, line, part in (
                (b"", 1, "the text is empty; expected 'shootdown-scenario 1' first"),
                (b"# A tool\n\nIt does things.\n", 3, "found 'It'"),
                (b"\xef\xbb\xbf" + text, 1, "begins with a byte-order mark"),
                (text.decode().encode("utf-16"), 1, "is UTF-16"),
                (b"shootdown-scenari 1\nconfig\n", 1, "found 'shootdown-scenari'"),
                (b"Shootdown-Scenario 1\nconfig\n", 1, "found 'Shootdown-Scenario'"),
                (text.replace(b" 1", b" 2"), 1, "expected version 1 after"),
                (text.replace(b" 1", b""), 1, "expected version 1 after"),
                (bytes(100), 1, "found '\\x00"),
                (b"\x7fELF\x02\x01\r\x01", 1, "found '\\x7fELF"),
                (text + bytes(3), 4, "unknown item '\\x00\\x00\\x00'"),
                (text + b"# \0\n", 4, "has a byte '\\x00', which is no text"),
                (text + b"# caf\xe9\n", 4, "has a byte '\\xe9', which is no UTF-8"),
                (text + b"\x7fELF\x02\n", 4, "unknown item '\\x7fELF"),
                (text.replace(b"\n", b"\r"), 1, "carriage return")):
            with self.subTest(content=content):
                path = self.file(content)
                error = self.refused(path)
                self.assertIn(f"{path}:{line}: ", error)
                self.assertIn(part, error)
                self.assertEqual("--bytes" in error, b"shootdown-scenario" not in content
                                 or content[:1] in b"\xef\xff", error)

    def test_a_comment_may_be_in_any_language(self):
        text = "# Übersetzungspuffer, 変換\nshootdown-scenario 1\nconfig cpus=1 # ≤ 1\n"
        self.assertEqual(self.reproduce("--title", self.file(text)), (OK, b"ok\n", ""))

    def test_bytes_have_a_mark_or_are_asked_for(self):
        self.reproduce("-o", self.path("whole.bin"), SCENARIOS[-1])
        with open(self.path("whole.bin"), "rb") as whole:
            content = whole.read()
        mark = b"shootdown-bytes 1\n"
        self.assertTrue(content.startswith(mark))
        raw = self.file(content[len(mark):], "raw")
        self.assertIn("--bytes takes any file", self.refused(raw))
        story = self.reproduce(SCENARIOS[-1])
        for arguments in (["whole.bin"], ["--bytes", "whole.bin"], ["--bytes", "raw"]):
            *options, name = arguments
            self.assertEqual(self.reproduce(*options, self.path(name))[:2], story[:2])

    def test_text_is_text_where_bytes_are_taken(self):
        self.assertEqual(self.reproduce("--bytes", SCENARIOS[0]), self.reproduce(SCENARIOS[0]))

    def test_a_mark_that_is_wrong_is_refused_whatever_is_asked_for(self):
        for content in (b"shootdown-bytes 2\n", b"shootdown-bytes 1\r\n\0", b"shootdown-bytes"):
            for options in ((), ("--bytes",)):
                self.assertIn("expected 'shootdown-bytes 1' and a line feed",
                              self.refused(*options, self.file(content)))

    def test_no_bytes_are_the_default_scenario(self):
        status, story, _ = self.reproduce("--bytes", self.file(b""))
        self.assertEqual(status, OK)
        self.assertIn(b"CPUs 4, address spaces 2", story)

    def test_every_prefix_of_a_byte_file_runs(self):
        self.reproduce("-o", self.path("whole.bin"), SCENARIOS[-1])
        with open(self.path("whole.bin"), "rb") as whole:
            content = whole.read()
        self.assertGreater(len(content), 38)
        for size in range(content.index(b"\n") + 1, len(content)):
            self.assertEqual(self.reproduce("--title", self.file(content[:size]))[0], OK, size)

    def test_a_text_that_was_cut_is_refused_unless_it_ends_with_a_line(self):
        with open(SCENARIOS[0], "rb") as whole:
            content = whole.read()
        config = content.index(b"config")
        refused = 0
        for size in range(1, len(content), 3):
            path = self.file(content[:size])
            status, _, error = self.reproduce("--title", path)
            ends = content[:size].endswith(b"\n") and size > config
            self.assertEqual(status, OK if ends else USAGE, content[:size])
            refused += status == USAGE
            last = content[:size].count(b"\n") + 1
            if status == USAGE:
                self.assertRegex(error, f"^reproduce: {path}:({last}|{last - 1}): ")
        self.assertGreater(refused, 20)

    def test_random_bytes_run_where_they_are_asked_for(self):
        generator = random.Random(20190613)
        for _ in range(40):
            content = bytes(generator.getrandbits(8) for _ in range(generator.randrange(2000)))
            self.assertEqual(self.reproduce("--bytes", "--title", self.file(content))[0], OK)

    def test_random_changes_of_a_text_run_or_are_explained(self):
        generator = random.Random(20190613)
        with open(SCENARIOS[0], "rb") as whole:
            content = whole.read()
        for _ in range(40):
            changed = bytearray(content)
            for _ in range(generator.randrange(1, 4)):
                changed[generator.randrange(len(changed))] = generator.getrandbits(8)
            status, _, error = self.reproduce("--title", self.file(bytes(changed)))
            self.assertEqual(status == USAGE, error.startswith("reproduce: "), error)

    def test_a_wrong_line_of_text_is_named_with_its_fix(self):
        error = self.refused(self.file("shootdown-scenario 1\nconfig cpus=1\ncpu 0: unmaap mm=0\n"))
        self.assertIn(":3: unknown operation 'unmaap'; did you mean 'unmap'?", error)

    def test_what_is_too_large_is_refused(self):
        for content in (bytes(10 << 20), b"shootdown-scenario 1\n" + b"# \n" * (10 << 18)):
            self.assertIn("too many", self.refused("--bytes", self.file(content)))
        with open(self.path("scenario"), "wb") as sparse:
            sparse.truncate(1 << 30)
        self.assertIn("too many", self.refused(self.path("scenario")))

    # ---- What is no readable file

    def test_a_missing_file_is_named(self):
        error = self.refused(self.path("nowhere"))
        self.assertIn(self.path("nowhere") + ": No such file", error)

    def test_a_file_without_permission_is_named(self):
        path = self.file(b"")
        os.chmod(path, 0)
        self.addCleanup(os.chmod, path, stat.S_IRUSR | stat.S_IWUSR)
        if os.access(path, os.R_OK):
            return  # Root reads everything.
        self.assertIn("Permission denied", self.refused(path))

    def test_what_is_not_a_file_is_refused_and_not_waited_for(self):
        os.mkfifo(self.path("pipe"))
        for path in (self.folder, self.path("pipe"), "/dev/zero", "/dev/null"):
            self.assertIn(path + ": not a file", self.refused(path))

    def test_an_output_that_cannot_be_written_is_named(self):
        for out in (self.path("no/such/folder/out.bin"), self.folder, self.path("x/")):
            status, _, error = self.reproduce("-o", out, SCENARIOS[0])
            self.assertEqual(status, USAGE)
            self.assertIn(out, error)

    def test_an_output_is_there_whole_or_as_it_was(self):
        out = self.file("as it was", "out.bin")
        run = subprocess.run(["bash", "-c", 'ulimit -f 0; exec "$@"', "bash", REPRODUCE, "--text",
                              "-o", out, SCENARIOS[0]], stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, preexec_fn=_ignore_the_limit, check=False)
        self.assertEqual(run.returncode, USAGE, run.stderr)
        self.assertIn(out.encode() + b": File too large", run.stderr)
        with open(out, "rb") as kept:
            self.assertEqual(kept.read(), b"as it was")
        self.assertEqual(os.listdir(self.folder), ["out.bin"])

    def test_an_output_goes_to_what_is_no_file_and_through_a_link(self):
        self.assertEqual(self.reproduce("--text", "-o", "/dev/null", SCENARIOS[0])[0], OK)
        os.symlink("real.txt", self.path("link.txt"))
        self.file("", "real.txt")
        self.reproduce("--text", "-o", self.path("link.txt"), SCENARIOS[0])
        self.assertTrue(os.path.islink(self.path("link.txt")))
        self.assertEqual(self.reproduce("--title", self.path("real.txt"))[1], b"ok\n")

    def test_standard_output_that_cannot_be_written(self):
        for arguments in (["--help"], [SCENARIOS[0]], ["--title", SCENARIOS[0]],
                          ["--text", SCENARIOS[0]]):
            with open("/dev/full", "wb") as full:
                run = subprocess.run([REPRODUCE, *arguments], stdout=full, stderr=subprocess.PIPE,
                                     check=False)
            self.assertEqual(run.returncode, USAGE)
            self.assertRegex(run.stderr, rb"^reproduce: the output cannot be written[^\n]*\n$")

    def test_paths_are_from_where_the_user_stands(self):
        scenario = os.path.abspath(SCENARIOS[0])
        run = subprocess.run([REPRODUCE, "--text", "-o", "out.txt", scenario], cwd="/",
                             env={**os.environ, "BUILD_WORKING_DIRECTORY": self.folder},
                             stdout=subprocess.PIPE, check=False)
        self.assertEqual(run.returncode, OK)
        self.assertTrue(os.path.exists(self.path("out.txt")))

    # ---- Usage

    def test_bad_usage_is_explained(self):
        for arguments, part in (
                ((), "no file given"),
                (("--wat", SCENARIOS[0]), "unknown option --wat"),
                (("-o", "out.bin", SCENARIOS[0], SCENARIOS[0]), "-o is for one file"),
                ((SCENARIOS[0], "--width", "wide"), "--width needs a number"),
                ((SCENARIOS[0], "--colour", "red"), "--colour needs a word: auto, always, never"),
                ((SCENARIOS[0], "--colour"), "--colour needs a word"),
                ((SCENARIOS[0], "--last"), "--last needs a number"),
                (("--last", "", SCENARIOS[0]), "--last needs a number"),
                (("--last", "many", SCENARIOS[0]), "--last needs a number"),
                (("--last", "-1", SCENARIOS[0]), "--last needs a number"),
                (("--last", "99999999999", SCENARIOS[0]), "--last needs a number"),
                (("--last", "99999999999999999999999", SCENARIOS[0]), "--last needs a number"),
                (("--last", " 1", SCENARIOS[0]), "--last needs a number"),
                (("--last", "1x", SCENARIOS[0]), "--last needs a number"),
                ((SCENARIOS[0], "-o", ""), "-o needs a file name"),
                ((SCENARIOS[0], "-o"), "-o needs a file name")):
            with self.subTest(arguments=arguments):
                self.assertIn(part, self.refused(*arguments))


if __name__ == "__main__":
    REPRODUCE, *SCENARIOS = sys.argv[1:]
    REPRODUCE = os.path.abspath(REPRODUCE)
    unittest.main(argv=sys.argv[:1], verbosity=2)
