"""What the entry code of the test kernel does on each of its ways, followed instruction by instruction.

The assembler's part of an entry is in no model and in no C++ test. So each way from an entry point to its IRET is
walked here over the disassembled kernel, with a state: which base GS has, whose root CR3 holds, which stack is in
use and what lies on it, what each register holds, whether interrupts are on. At each step the rules of `Way` are asked.
What the steps in C++ do with CR3 (`enter_from_user` and its like, core/user_pcid.h) is code that the model runs.
"""

import dataclasses
import re

CLOBBERED = ("rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11")
PRESERVED = ("rbx", "rbp", "r12", "r13", "r14", "r15")
REGISTERS = CLOBBERED + PRESERVED
# What the processor pushes, in this order.
FRAME = ("ss", "rsp", "flags", "cs", "rip")

MSR_GS_BASE = 0xc0000101

_NARROW = {"eax": "rax", "ebx": "rbx", "ecx": "rcx", "edx": "rdx", "esi": "rsi", "edi": "rdi", "ebp": "rbp"}
_NARROW.update({f"r{i}d": f"r{i}" for i in range(8, 16)})
_GS = re.compile(r"%gs:(0x[0-9a-f]+|\d+)?")
_PLACE = re.compile(r"(-?(?:0x[0-9a-f]+|\d+))?\(%(\w+)\)")


class Wrong(Exception):
    """A rule is broken at an instruction."""


@dataclasses.dataclass(frozen=True)
class Offsets:
    """Where the words of an EntryArea lie that the assembler uses (kernel-glue/kernel/layout.h)."""
    depth: int
    kernel_stack: int
    stack_top: int
    isolates: int


@dataclasses.dataclass(frozen=True)
class Start:
    """A way into the entry code: where it begins, and how the CPU comes there."""
    name: str
    address: int
    user: bool  # the interrupted code is user mode
    gs: str  # "user" or "kernel"
    root: str  # "user", "kernel", or "any" where only the stack is known
    stack: str  # "entry", "kernel", or "own": one that no other entry uses
    words: tuple  # on the stack
    depth: int  # what the depth of interrupts is in a handler
    interrupts: bool = False
    calls: bool = False  # entered by a call from C++, not by the processor
    final: bool = False  # the handler does not return


@dataclasses.dataclass(frozen=True)
class Step:
    """An instruction, and what to do before it, if anything: a change of the code to try."""
    mnemonic: str
    operands: str
    target: object
    following: int
    before: str = ""


def _number(text):
    return int(text, 16) if "0x" in text else int(text)


class Way:
    """One walk."""

    def __init__(self, code, steps, names, offsets, start, isolation):
        self.code, self.steps, self.names, self.offsets = code, steps, names, offsets
        self.start, self.isolation = start, isolation
        self.gs, self.root, self.stack = start.gs, start.root if isolation else "kernel", start.stack
        self.words = list(start.words)
        self.copied = None  # the words of the stack that RAX points to
        self.registers = {name: f"old {name}" for name in REGISTERS}
        self.flags = None  # what the next conditional jump asks: true if equal
        self.interrupts, self.depth = start.interrupts, 0
        self.forward = start.calls  # the direction flag is clear
        self.prepared = False
        self.handled = []
        self.visited = set()

    def require(self, holds, what):
        if not holds:
            raise Wrong(f"{self.start.name}, {'with' if self.isolation else 'without'} isolation: {what}")

    def run(self):
        """Walks to the end. Returns the handlers that were called."""
        address, seen = self.start.address, 0
        while address is not None:
            instruction = self.code.get(address)
            self.require(instruction is not None, f"leads to {address:#x}, which is no entry code")
            seen += 1
            self.visited.add(address)
            self.require(seen < 1000, "does not end")
            if instruction.before:
                getattr(self, "on_" + instruction.before)()
            address = self.step(instruction)
        return self.handled

    # ---- One instruction

    def step(self, instruction):
        operands = _split(instruction.operands)
        self.check_memory(operands)
        mnemonic = instruction.mnemonic
        following = instruction.following
        if mnemonic.startswith("call"):
            self.call(instruction.target)
            if self.start.final and self.handled:
                return None
        elif mnemonic == "jmp":
            return instruction.target
        elif mnemonic in ("je", "jne"):
            self.require(self.flags is not None, f"{mnemonic} without a test before it")
            taken = self.flags == (mnemonic == "je")
            self.flags = None
            return instruction.target if taken else following
        elif mnemonic == "iretq":
            return self.leave()
        elif mnemonic == "retq" or mnemonic == "ret":
            return self.give_back()
        else:
            act = getattr(self, "on_" + mnemonic, None)
            self.require(act is not None, f"{mnemonic} is not known to the walk")
            act(*operands)
        return following

    def check_memory(self, operands):
        for operand in operands:
            if "%gs:" in operand:
                self.require(self.gs == "kernel", f"{operand} is used with the base of user mode in GS")

    def on_swapgs(self):
        self.gs = {"user": "kernel", "kernel": "user"}[self.gs]

    def on_nop(self, *_):
        pass

    def on_cld(self):
        self.forward = True

    def on_cli(self):
        self.interrupts = False

    def on_sti(self):
        self.require(self.start.name == "end_user_mode" and self.stack == "thread" and self.words == ["return"],
                     "interrupts are on too early")
        self.interrupts = True

    def on_pushq(self, what):
        place = _PLACE.fullmatch(what)
        if what.startswith("$"):
            self.words.append("constant")
        elif place and self.registers.get(place[2]) == "old stack":
            index = _number(place[1] or "0") // 8
            self.require(index < len(self.copied), "more words are moved than there are")
            self.words.append(self.copied[-1 - index])
        elif place:
            self.require(self.root == "kernel", "memory of the kernel is read on a user root")
            self.words.append("given")
        else:
            self.words.append(self.registers[what[1:]])

    def on_popq(self, register):
        self.require(self.words, "more is popped than was pushed")
        self.registers[register[1:]] = self.words.pop()

    def on_addq(self, count, register):
        self.require(register == "%rsp", f"addq to {register}")
        for _ in range(_number(count[1:]) // 8):
            self.words.pop()

    def on_subq(self, count, register):
        self.require(register == "%rsp", f"subq from {register}")
        self.words += ["padding"] * (_number(count[1:]) // 8)

    def on_leaq(self, place, register):
        self.require(place.endswith("(%rsp)") and self.stack == "own", "an area is computed from another stack")
        self.registers[register[1:]] = "area"

    def on_movq(self, source, target):
        gs = _GS.fullmatch(source)
        if source == "%rsp" and target == "%rax":
            self.copied, self.registers["rax"] = list(self.words), "old stack"
        elif source == "%rsp" and _GS.fullmatch(target):
            self.keep_kernel_stack(_number(_GS.fullmatch(target)[1]))
        elif target == "%rsp" and gs:
            self.change_stack(_number(gs[1]))
        elif source == "%rsp":
            self.registers[target[1:]] = "frame"
        elif source.startswith("%"):
            self.registers[target[1:]] = self.registers[source[1:]]
        else:
            self.require(_PLACE.fullmatch(source) and self.root == "kernel", f"a read of {source}")
            self.registers[target[1:]] = "given"

    def keep_kernel_stack(self, offset):
        self.require(offset == self.offsets.kernel_stack and not self.interrupts and len(self.words) % 2 == 0,
                     "the kernel's stack is kept in the wrong place, unaligned, or with interrupts on")
        # From here on as after the interrupt of a user program.
        self.words = []

    def change_stack(self, offset):
        self.require(not self.interrupts, "the stack is changed with interrupts on")
        if offset == self.offsets.stack_top:
            self.require(self.prepared, "the entry stack is taken before what is owed is known")
            self.stack, self.words = "entry", []
        else:
            self.require(offset == self.offsets.kernel_stack and self.root == "kernel",
                         "the kernel's stack is not to be had here")
            self.stack, self.words = "kernel", []
            if self.start.name == "end_user_mode":
                self.stack = "thread"
                self.words = ["return"] + [f"kept {name}" for name in PRESERVED] + ["padding"]

    def on_movl(self, source, target):
        self.registers[_NARROW[target[1:]]] = _number(source[1:]) & 0xffffffff

    def on_xorl(self, source, target):
        self.require(source == target, "xorl of two registers")
        self.registers[_NARROW[target[1:]]] = 0
        self.flags = None

    def on_shrq(self, count, register):
        self.require(count == "$0x20" and self.registers[register[1:]] == "area", "half of another base")
        self.registers[register[1:]] = "high area"

    def on_incl(self, place):
        self.require(_number(_GS.fullmatch(place)[1] or "0") == self.offsets.depth, f"incl {place}")
        self.depth += 1

    def on_decl(self, place):
        self.require(_number(_GS.fullmatch(place)[1] or "0") == self.offsets.depth, f"decl {place}")
        self.depth -= 1

    def on_testb(self, mask, place):
        offset = _number(_PLACE.fullmatch(place)[1])
        self.require(mask == "$0x3" and self.words[-1 - offset // 8] == "cs", "not the privilege of what was hit")
        self.flags = not self.start.user

    def on_testl(self, one, other):
        self.require(one == other, "testl of two registers")
        value = self.registers[_NARROW[one[1:]]]
        self.require(isinstance(value, int), "testl of an unknown register")
        self.flags = value == 0

    def on_cmpl(self, one, other):
        gs = _GS.fullmatch(other)
        self.require(gs and one == "$0x0" and _number(gs[1]) == self.offsets.isolates, f"cmpl with {other}")
        self.flags = not self.isolation

    def on_cmpq(self, one, other):
        self.require({self.registers[one[1:]], self.registers[other[1:]]} == {"area", "base"},
                     "all of GS is compared with something else")
        self.flags = self.gs == "kernel"

    def on_rdmsr(self):
        self.require(self.registers["rcx"] == MSR_GS_BASE, "another register than the base of GS is read")
        self.registers["rax"], self.registers["rdx"] = "low base", "high base"

    def on_shlq(self, count, register):
        self.require(count == "$0x20" and self.registers[register[1:]] == "high base", "half of another base")
        self.registers[register[1:]] = "upper base"

    def on_orq(self, one, other):
        self.require({self.registers[one[1:]], self.registers[other[1:]]} == {"low base", "upper base"},
                     "the halves of GS are put together wrongly")
        self.registers[other[1:]] = "base"

    def on_wrmsr(self):
        self.require(self.registers["rcx"] == MSR_GS_BASE and self.registers["rax"] == "area"
                     and self.registers["rdx"] == "high area",
                     "GS gets another base than the area")
        self.gs = "kernel"

    # ---- Calls and ends

    def call(self, target):
        name = self.steps.get(target) or self.names.get(target, f"{target:#x}")
        self.require(len(self.words) % 2 == 0, f"{name} is called with an unaligned stack")
        self.require(self.forward, f"{name} is called with the direction flag as user mode left it")
        self.require(not self.interrupts, f"{name} is called with interrupts on")
        if target in self.steps:
            getattr(self, "call_" + name)()
        else:
            self.handle(name)
        held = "held" if name == "enter_from_anywhere" else "lost"
        for register in CLOBBERED:
            self.registers[register] = "lost"
        self.registers["rax"] = held
        self.flags = None

    def call_enter_from_user_mode(self):
        self.require(self.isolation, "a root is loaded without isolation")
        self.require(self.gs == "kernel" and self.stack == "entry", "the kernel's root is loaded in the wrong place")
        self.root = "kernel"

    def call_leave_for_user_mode(self):
        self.require(self.gs == "kernel" and self.stack == "entry" and self.root == "kernel" and self.prepared,
                     "the user root is loaded before it is decided what it owes, or on the kernel's stack")
        self.root = "user"

    def call_enter_from_anywhere(self):
        self.require(self.registers["rdi"] == "area" and self.stack == "own", "no area is given")
        self.root = "kernel"

    def call_leave_for_anywhere(self):
        self.require(self.registers["rdi"] == "area" and self.registers["rsi"] == "held" and self.depth == 0,
                     "CR3 does not get back what it held")
        self.root = "restored"

    def handle(self, name):
        self.require(self.root == "kernel", f"{name} is called on a user root")
        self.require(self.gs == "kernel", f"{name} is called with the base of user mode in GS")
        self.require(self.stack != "entry", f"{name} is called on the entry stack")
        if name == "prepare_user_mode":
            self.require(self.depth == 0, "the way to user mode is one of an interrupt")
            self.prepared = True
            return
        self.require(self.depth == self.start.depth, f"{name} is called at a depth of {self.depth}")
        if name in ("handle_exception", "handle_user_exception", "handle_nmi"):
            self.require(self.registers["rdi"] == "frame", f"{name} gets no frame")
        self.handled.append(name)

    def leave(self):
        self.require(not self.interrupts, "interrupts are on at IRET")
        self.require(self.depth == 0, "an interrupt is not over")
        if self.start.calls:
            self.require(self.words == ["constant", "given", "constant", "constant", "given"], "no frame for IRET")
            for name in REGISTERS:
                self.require(self.registers[name] in (0, "given"), f"user mode is shown the kernel's {name}")
            self.require(self.gs == "user", "user mode gets the kernel's GS")
        else:
            self.require(tuple(self.words[-5:]) == FRAME, "IRET finds something else than it was entered with")
            for name in REGISTERS:
                self.require(self.registers[name] == f"old {name}", f"{name} is not what it was")
            self.require(self.gs == self.start.gs, "GS is not what it was")
        if self.isolation:
            wanted = "user" if self.start.user or self.start.calls else self.start.root
            if self.start.root == "any":
                wanted = "restored"
            self.require(self.root == wanted, f"the root at IRET is {self.root}")
            self.require(wanted != "user" or self.stack == "entry", "IRET reads the kernel's stack on a user root")
        return None

    def give_back(self):
        self.require(self.words == ["return"] and self.interrupts and self.gs == "kernel"
                     and self.start.name == "end_user_mode",
                     "a return to somewhere else")
        for name in PRESERVED:
            self.require(self.registers[name] == f"kept {name}", f"the thread's {name} is lost")
        return None


def starts(named):
    """All ways in. `named` gives the address of a symbol."""
    errors = (10, 11, 12, 13, 14, 17, 21, 29, 30)
    for vector in [n for n in range(32) if n not in (2, 8)] + [128, 242]:
        name = f"exception_{vector}"
        words = FRAME + (("error",) if vector in errors else ())
        yield Start(name, named(name), True, "user", "user", "entry", words, 0)
        yield Start(name, named(name), False, "kernel", "kernel", "kernel", words, 1)
    for name, depth in (("call_function_entry", 1), ("timed_call_function_entry", 1), ("wake_entry", 1),
                        ("spurious_entry", 0)):
        yield Start(name, named(name), True, "user", "user", "entry", FRAME, depth)
        yield Start(name, named(name), False, "kernel", "kernel", "kernel", FRAME, depth)
    for gs in ("user", "kernel"):
        yield Start("exception_2", named("exception_2"), gs == "user", gs, "any", "own", FRAME, 1)
        yield Start("exception_8", named("exception_8"), False, gs, "any", "own", FRAME + ("error",), 1, final=True)
    yield Start("go_to_user_mode", named("go_to_user_mode"), False, "kernel", "kernel", "kernel", ("return",), 0,
                interrupts=True, calls=True)
    yield Start("end_user_mode", named("end_user_mode"), False, "kernel", "kernel", "kernel", ("return",), 0,
                interrupts=True, calls=True)


def walk(code, steps, names, offsets, start, isolation):
    """One way to its end: the handlers that were called, and where it led; raises Wrong."""
    way = Way(code, steps, names, offsets, start, isolation)
    try:
        return way.run(), way.visited
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise Wrong(f"{start.name}: {error!r}") from error


def _split(text):
    """Operands, with the commas inside parentheses left alone."""
    return [part.strip() for part in re.split(r",(?![^()]*\))", text)] if text else []
