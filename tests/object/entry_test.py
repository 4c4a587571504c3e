"""What user roots map of the test kernel: the entry code and its data are what is listed here, and no more."""

import os
import sys
import unittest

from tests.object import elf

# All data that a user root maps. The areas hold each CPU's segments, task state and entry stacks, which the
# processor reads itself, and the words of the core's EntryBlock.
DATA = {
    "shootdown::kernel::(anonymous namespace)::interrupt_table",
    "shootdown::kernel::entry_areas",
}

# The steps on a root that may be the user's.
STEPS = {"enter_from_anywhere", "enter_from_user_mode", "leave_for_anywhere", "leave_for_user_mode"}

# What the entry code calls outside itself, each on the kernel's root.
HANDLERS = {
    "handle_call_function",
    "handle_exception",
    "handle_nmi",
    "handle_user_exception",
    "handle_wake",
    "prepare_user_mode",
}

kernel = None


class EntryTest(unittest.TestCase):

    def within(self, part):
        begin, end = (kernel.named(f"entry_{part}_{side}").address for side in ("begin", "end"))
        self.assertLess(begin, end)
        return range(begin, end)

    def test_data_is_what_an_entry_needs(self):
        data = self.within("data")
        found = {symbol.name for symbol in kernel.functions if symbol.address in data}
        self.assertEqual(found, DATA)

    def test_steps_are_in_one_piece(self):
        text = self.within("text")
        for name in STEPS:
            with self.subTest(step=name):
                step = kernel.named(name)
                self.assertIn(step.address, text)
                code = kernel.code_of(step)
                self.assertGreater(len(code), 3)
                for instruction in code:
                    self.assertFalse(instruction.mnemonic.startswith("call"), instruction)
                    if instruction.target is not None:
                        self.assertTrue(step.holds(instruction.target), instruction)

    def test_entry_code_calls_known_handlers_only(self):
        text = self.within("text")
        # The one symbol of each address that stands for a function; the assembler's have no size.
        names = {symbol.address: symbol.name for symbol in kernel.symbols}
        names.update({symbol.address: symbol.name for symbol in kernel.functions})
        called = {names.get(instruction.target, f"{instruction.target:#x}")
                  for instruction in kernel.instructions
                  if instruction.address in text and instruction.target is not None
                  and instruction.target not in text}
        self.assertEqual(called, HANDLERS)


if __name__ == "__main__":
    kernel = elf.Elf(os.path.realpath(sys.argv[1]))
    unittest.main(argv=sys.argv[:1], verbosity=2)
