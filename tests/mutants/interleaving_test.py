"""Tests of the interleavings of the pages: rows, marks, and what a story may say of them."""

import unittest

from tests.mutants import interleaving, notation, roles

_ROWS = """\
       step   cpu0                cpu1
       7                          == unmap mm=0 page=0
       8      speculative fill of
                page 0
                [page 0 -> frame
                12, writable]
                [stale now: page 1]
       8      load mm0.users = 2
dev    9      ~~ at +1: drain
       9        drains cpu0.is_lazy = 1
       10                         modify mm0.tlb_gen = 2
"""
_SCENARIO = "cpu 0: idle\ncpu 1: unmap mm=0 page=0 count=1\n"
_FIRST = _ROWS.replace("       8      spec", "first  8      spec")
_BOTH = _FIRST.replace("       10 ", "then   10 ")
_THEN = _ROWS.replace("       10 ", "then   10 ")


def _told(rows: str = _ROWS, cause: str = "") -> interleaving.Interleaving:
    return interleaving.parse(rows, "O1 a title", cause)


def _marks(told: interleaving.Interleaving) -> list[str]:
    return [line.strip() for line in told.marked().splitlines() if not line.startswith((" ", "dev"))]


class RowsTest(unittest.TestCase):
    def test_rows(self):
        rows = _told().rows()
        self.assertEqual([(row.step, row.cpu, row.text, row.mark) for row in rows],
                         [(7, 1, "== unmap mm=0 page=0", ""), (8, 0, "speculative fill of page 0", ""),
                          (8, 0, "load mm0.users = 2", ""), (9, 0, "~~ at +1: drain", "dev"),
                          (9, 0, "drains cpu0.is_lazy = 1", ""), (10, 1, "modify mm0.tlb_gen = 2", "")])
        self.assertEqual([row.notes for row in rows if row.notes],
                         ["[page 0 -> frame 12, writable] [stale now: page 1]"])

    def test_no_interleaving(self):
        for text in ("", "nothing\n"):
            with self.assertRaisesRegex(interleaving.InterleavingError, "no line that names the columns"):
                interleaving.parse(text, "")
        with self.assertRaisesRegex(interleaving.InterleavingError, "names no CPUs"):
            interleaving.parse("       step   where\n", "").rows()


class MarksTest(unittest.TestCase):
    def test_what_the_reproducer_marks_stays(self):
        told = _told(_BOTH)
        self.assertEqual(_marks(told), ["first  8      speculative fill of",
                                        "then   10                         modify mm0.tlb_gen = 2"])
        again = interleaving.parse(told.marked(), "O1 a title")
        self.assertEqual((again, again.marked()), (told, told.marked()))

    def test_a_cause(self):
        told = _told(_THEN, "CPU 0: load mm0.users = 2")
        self.assertEqual(_marks(told), ["cause  8      load mm0.users = 2",
                                        "then   10                         modify mm0.tlb_gen = 2"])
        self.assertEqual(_marks(told.shortened(1)), _marks(told))
        self.assertEqual(interleaving.parse(told.marked(), "O1 a title", told.cause), told)
        for cause, rows, why in (("CPU 1: load mm0.users = 2", _THEN, "no row 'load mm0.users = 2' of CPU 1"),
                                 ("CPU 1: modify mm0.tlb_gen = 2", _THEN, "no row 'modify mm0.tlb_gen = 2' of CPU 1"),
                                 ("CPU 0: load mm0.users = 2", _BOTH, "a first step")):
            with self.subTest(cause), self.assertRaisesRegex(interleaving.InterleavingError, why):
                _told(rows, cause).marked()


class ShortenedTest(unittest.TestCase):
    def test_operations_and_what_is_marked_stay(self):
        told = _told(_BOTH)
        short = told.shortened(1)
        self.assertEqual(short.lines, [*told.lines[:7], "  ... 1 rows left out", told.lines[8], "  ... 1 rows left out",
                                       told.lines[-1]])
        self.assertEqual(_marks(short), _marks(told))
        self.assertEqual(short.shortened(1), short)

    def test_what_is_short_stays(self):
        told = _told(_BOTH)
        self.assertEqual(told.shortened(6), told)


class RolesTest(unittest.TestCase):
    def wrong(self, story: str) -> list[str]:
        return roles.wrong(story, _told(), _SCENARIO)

    def test_right(self):
        story = "CPU 1, the initiator, unmaps a page; CPU 0, the lazy CPU, is lazy. CPU 1 flushes."
        self.assertEqual(self.wrong(story), [])

    def test_wrong(self):
        for story, problem in {
                "cpu1 unmaps a page": "'cpu1' is to be 'CPU 1'",
                "A page is unmapped.": "no CPU is named",
                "CPU 2, the target, waits.": "the interleaving has no CPU 2",
                "CPU 1 unmaps a page.": "CPU 1 has no role where it comes up first",
                "CPU 1, the emperor, unmaps a page.": "'emperor' is no role",
                "CPU 0, the initiator, waits.": "CPU 0 is not the initiator",
                "CPU 0, the target, waits.": "CPU 0 is not the target",
                "CPU 1, the initiator, unmaps a page of mm7.": "the interleaving has no mm7",
                "CPU 1, the initiator, increments tlb_gen to 3.": "tlb_gen is never 3",
                "CPU 1, the initiator, reads generation 2.": "tlb_gen is never 2",
                "CPU 1, the only CPU, waits.": "CPU 1 is not the only CPU",
                "CPU 1, the initiator, reclaims a page.": "CPU 1 does not do what 'reclaims' says",
                "CPU 0, the lazy CPU, waits. CPU 0 unmaps a page.": "CPU 0 does not do what 'unmaps' says"}.items():
            with self.subTest(story):
                self.assertRegex("; ".join(self.wrong(story)), problem)

    def test_without_an_interleaving_no_number_can_be_right(self):
        self.assertEqual(roles.wrong("The target waits.", None, ""), [])
        self.assertRegex(roles.wrong("CPU 0, the target, waits.", None, "")[0], "no interleaving shows it")

    def test_what_is_said_of_a_flush_of_a_cpu_is_not_said_of_the_cpu(self):
        self.assertEqual(self.wrong("CPU 1, the initiator, unmaps a page. The flush of CPU 1 ends."), [])


class NotationTest(unittest.TestCase):
    def test_rows_that_are_not_explained_and_explanations_that_are_not_used(self):
        self.assertEqual(notation.unknown_rows(["waits", "dances"]), ["dances"])
        self.assertIn("waits", notation.unused(["full fence"]))
        self.assertNotIn("waits", notation.unused(["waits"]))
        self.assertIn("| `waits` |", notation.primer())


if __name__ == "__main__":
    unittest.main()
