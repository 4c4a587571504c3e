"""What user roots map of the test kernel: the entry code and its data are what is listed here, and no more."""

import dataclasses
import os
import sys
import unittest

from tests.object import elf, entry_steps

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
    "handle_timed_call_function",
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

    # ---- The ways in and out, instruction by instruction

    OFFSETS = entry_steps.Offsets(depth=8, kernel_stack=96, stack_top=104, isolates=112)

    def entry_code(self):
        """The assembler's instructions by address."""
        text = self.within("text")
        apart = [kernel.named(name) for name in STEPS]
        found = [instruction for instruction in kernel.instructions if instruction.address in text
                 and not any(step.holds(instruction.address) for step in apart)]
        return {one.address: entry_steps.Step(one.mnemonic, one.operands, one.target, after.address)
                for one, after in zip(found, found[1:] + found[-1:])}

    def setUp(self):
        self.steps = {kernel.named(name).address: name for name in STEPS}
        self.names = {symbol.address: symbol.name for symbol in kernel.functions}

    def walk(self, code, start, isolation):
        return entry_steps.walk(code, self.steps, self.names, self.OFFSETS, start, isolation)

    def walk_all(self, code):
        """What each way calls and where it leads, in the kernel as it is."""
        ways = list(entry_steps.starts(lambda name: kernel.named(name).address))
        return {(start, isolation): self.walk(code, start, isolation)
                for start in ways for isolation in (False, True)}

    def is_noticed(self, code, address, changed, clean):
        """Whether a way over the changed instruction breaks a rule, or calls other handlers."""
        for (start, isolation), (handled, visited) in clean.items():
            if address not in visited:
                continue
            try:
                if self.walk({**code, address: changed}, start, isolation)[0] != handled:
                    return True
            except entry_steps.Wrong:
                return True
        return False

    def test_every_way_keeps_the_rules(self):
        code = self.entry_code()
        special = {"exception_2": ["handle_nmi"], "exception_8": ["handle_exception"],
                   "call_function_entry": ["handle_call_function"], "wake_entry": ["handle_wake"],
                   "timed_call_function_entry": ["handle_timed_call_function"],
                   "spurious_entry": [], "go_to_user_mode": [], "end_user_mode": []}
        reached = set()
        for (start, isolation), (handled, visited) in self.walk_all(code).items():
            with self.subTest(start=start, isolation=isolation):
                usual = ["handle_user_exception" if start.user else "handle_exception"]
                self.assertEqual(handled, special.get(start.name, usual))
            reached |= visited
        self.assertEqual([hex(address) for address, step in code.items()
                          if address not in reached and not step.mnemonic.startswith("nop")], [])

    def test_no_instruction_can_be_left_out(self):
        code = self.entry_code()
        clean = self.walk_all(code)
        for address, step in code.items():
            if step.mnemonic.startswith("nop"):
                continue
            with self.subTest(left_out=f"{address:#x} {step.mnemonic} {step.operands}"):
                without = dataclasses.replace(step, mnemonic="nop", operands="")
                self.assertTrue(self.is_noticed(code, address, without, clean))

    def test_no_swapgs_and_no_sti_can_be_added(self):
        code = self.entry_code()
        clean = self.walk_all(code)
        # A double fault loads the base itself, wherever it came from.
        loads_base = range(kernel.named("exception_8").address, kernel.named("exception_2").address)
        for address, step in code.items():
            # Interrupts go on at the end of a stay in user mode.
            last = {"swapgs": ("swapgs",), "sti": ("sti", "ret", "retq")}
            for added in ("swapgs", "sti"):
                if step.mnemonic in last[added] or step.mnemonic.startswith("nop"):
                    continue
                if added == "swapgs" and address in loads_base:
                    continue
                with self.subTest(added=added, before=f"{address:#x} {step.mnemonic} {step.operands}"):
                    changed = dataclasses.replace(step, before=added)
                    self.assertTrue(self.is_noticed(code, address, changed, clean))


if __name__ == "__main__":
    kernel = elf.Elf(os.path.realpath(sys.argv[1]))
    unittest.main(argv=sys.argv[:1], verbosity=2)
