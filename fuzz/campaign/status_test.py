"""Tests of the status line on terminals of several widths, and where there is none."""

import fcntl
import io
import os
import pty
import struct
import termios
import unittest
from dataclasses import dataclass, field
from pathlib import Path

from fuzz.campaign import status
from fuzz.campaign.crashes import CrashStore, Group
from fuzz.campaign.engine import Progress


@dataclass
class FakeEngine:
    name: str
    coverage_name: str
    seconds: float = 596.0
    progress: Progress = field(default_factory=lambda: Progress(1_817_219, False, 2_690, 13_274))


def texts(crashes: int = 12) -> list[str]:
    """A campaign of two engines after ten minutes."""
    store = CrashStore(Path("crashes"))
    store.groups["O1"] = Group(count=crashes)
    engines = [FakeEngine("libFuzzer", "features"), FakeEngine("AFL++", "edges")]
    return status.status_texts(596, 600, engines, store)


class Terminal:
    """A pseudo terminal; what is written to `stream` comes out of `line`."""

    def __init__(self, columns: int):
        self._master, slave = pty.openpty()
        self._slave = slave
        self.resize(columns)
        self.stream = open(slave, "w", encoding="utf-8", closefd=False)

    def resize(self, columns: int) -> None:
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def line(self) -> str:
        """What stands in the line that was written last."""
        return os.read(self._master, 65536).decode().removeprefix("\r").removesuffix("\x1b[K")

    def close(self) -> None:
        self.stream.close()
        os.close(self._slave)
        os.close(self._master)


class StatusTest(unittest.TestCase):
    def setUp(self):
        for name in ("COLUMNS", "TERM"):
            self.addCleanup(os.environ.update, {name: os.environ[name]} if name in os.environ else {})
            os.environ.pop(name, None)

    def terminal(self, columns: int) -> Terminal:
        terminal = Terminal(columns)
        self.addCleanup(terminal.close)
        return terminal

    def test_the_crashes_and_whole_words_are_there_at_every_width(self):
        for columns, wanted in [
                (10, "crashes 1"),
                (12, "crashes 12"),
                (30, "crashes 12 | 596/600 s"),
                (40, "crashes 12 | 596/600 s | 3,634,438 exec"),
                (80, "crashes 12 | 596/600 s | libFuzzer 3,049/s | AFL++ 3,049/s"),
                (120, "crashes 12 | 596/600 s | libFuzzer ~1,817,219 exec 3,049/s | AFL++ ~1,817,219 exec "
                      "3,049/s"),
                (200, texts()[0])]:
            with self.subTest(columns):
                terminal = self.terminal(columns)
                status.StatusLine(terminal.stream).show(*texts())
                line = terminal.line()
                self.assertEqual(line, wanted)
                self.assertLess(len(line), columns)

    def test_all_is_there_where_there_is_room(self):
        self.assertEqual(texts()[0], (
            "crashes 12 | 596/600 s | libFuzzer ~1,817,219 exec 3,049/s corpus 2,690 features 13,274"
            " | AFL++ ~1,817,219 exec 3,049/s corpus 2,690 edges 13,274"))

    def test_a_terminal_that_changes_its_width(self):
        terminal = self.terminal(200)
        line = status.StatusLine(terminal.stream)
        for columns, wanted in [(200, texts()[0]), (40, texts()[3]), (80, texts()[2])]:
            terminal.resize(columns)
            line.show(*texts())
            self.assertEqual(terminal.line(), wanted)

    def test_columns_of_the_environment_win(self):
        os.environ["COLUMNS"] = "40"
        self.addCleanup(os.environ.pop, "COLUMNS")
        terminal = self.terminal(200)
        status.StatusLine(terminal.stream).show(*texts())
        self.assertEqual(terminal.line(), texts()[3])

    def test_a_terminal_that_does_not_know_its_width(self):
        terminal = self.terminal(0)
        status.StatusLine(terminal.stream).show(*texts())
        self.assertEqual(terminal.line(), texts()[2])

    def test_plain_lines_elsewhere(self):
        stream = io.StringIO()
        line = status.StatusLine(stream)
        line.show(*texts())
        self.assertEqual(stream.getvalue(), "")
        for wanted in (texts()[0] + "\n", 2 * (texts()[0] + "\n")):
            line._next_plain = 0.0
            line.show(*texts())
            self.assertEqual(stream.getvalue(), wanted)

    def test_plain_lines_on_a_dumb_terminal(self):
        os.environ["TERM"] = "dumb"
        self.addCleanup(os.environ.pop, "TERM", None)
        terminal = self.terminal(80)
        line = status.StatusLine(terminal.stream)
        line._next_plain = 0.0
        line.show(*texts())
        self.assertEqual(terminal.line(), texts()[0] + "\r\n")


if __name__ == "__main__":
    unittest.main()
