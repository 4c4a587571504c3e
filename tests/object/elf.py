"""As much of an ELF file as the proofs need: sections by name, bytes by address, functions, instructions."""

import bisect
import dataclasses
import re
import struct
import subprocess

_ALLOCATED = 2
_NO_BITS = 8

_SYMBOL = re.compile(r"([0-9a-f]{16}) (?:([0-9a-f]{16}) )?(\w) (.+)")
_INSTRUCTION = re.compile(r"\s*([0-9a-f]+):\s+(\S+)(?:\s+(.*))?")
_TARGET = re.compile(r"0x([0-9a-f]+)\b")


@dataclasses.dataclass(frozen=True)
class Section:
    """A section that is in memory and has contents in the file."""
    name: str
    address: int
    contents: bytes


@dataclasses.dataclass(frozen=True)
class Symbol:
    """A defined symbol, its name demangled."""
    name: str
    address: int
    size: int

    def holds(self, address):
        return self.address <= address < self.address + max(self.size, 1)


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One instruction; target is where a direct call or jump leads, else None."""
    address: int
    mnemonic: str
    target: object
    operands: str = ""


def _tool(name, *arguments):
    done = subprocess.run([f"/usr/bin/{name}-19", *arguments], stdout=subprocess.PIPE, check=True)
    return done.stdout.decode()


class Elf:
    """A linked ELF file."""

    def __init__(self, path):
        self.path = path
        with open(path, "rb") as file:
            self.sections = _sections(file.read())
        self.symbols = sorted(_symbols(path), key=lambda symbol: symbol.address)
        self.functions = [symbol for symbol in self.symbols if symbol.size != 0]
        self._begins = [function.address for function in self.functions]
        self.instructions = _instructions(path)
        self._addresses = [instruction.address for instruction in self.instructions]
        self._starts = set(self._addresses)

    def named(self, name):
        """The one symbol of this name."""
        found = [symbol for symbol in self.symbols if symbol.name == name]
        if len(found) != 1:
            raise LookupError(f"{self.path} has {len(found)} symbols '{name}'")
        return found[0]

    def read(self, address, size):
        for section in self.sections:
            offset = address - section.address
            if 0 <= offset and offset + size <= len(section.contents):
                return section.contents[offset:offset + size]
        raise LookupError(f"{self.path} has nothing at {address:#x}")

    def section(self, name):
        return next(section for section in self.sections if section.name == name)

    def function_at(self, address):
        """The function, or other sized symbol, that holds the address; None outside."""
        index = bisect.bisect_right(self._begins, address) - 1
        if index < 0 or not self.functions[index].holds(address):
            return None
        return self.functions[index]

    def is_instruction(self, address):
        return address in self._starts

    def code_of(self, function):
        begin = bisect.bisect_left(self._addresses, function.address)
        end = bisect.bisect_left(self._addresses, function.address + function.size)
        return self.instructions[begin:end]


def _sections(data):
    header_offset = struct.unpack_from("<Q", data, 40)[0]
    entry_size, count, names_index = struct.unpack_from("<HHH", data, 58)
    headers = [struct.unpack_from("<IIQQQQ", data, header_offset + i * entry_size) for i in range(count)]
    names = headers[names_index][4]
    sections = []
    for name, kind, flags, address, offset, size in headers:
        if flags & _ALLOCATED and kind != _NO_BITS:
            text = data[names + name:data.index(b"\0", names + name)].decode()
            sections.append(Section(text, address, data[offset:offset + size]))
    return sections


def _symbols(path):
    for line in _tool("llvm-nm", "--demangle", "--print-size", "--defined-only", path).splitlines():
        match = _SYMBOL.fullmatch(line)
        if match:
            yield Symbol(match[4], int(match[1], 16), int(match[2] or "0", 16))


def _instructions(path):
    instructions = []
    for line in _tool("llvm-objdump", "--disassemble", "--no-show-raw-insn", path).splitlines():
        match = _INSTRUCTION.fullmatch(line)
        if not match:
            continue
        target = None
        if match[2].startswith(("j", "call")) and match[3] and not match[3].startswith("*"):
            found = _TARGET.match(match[3])
            target = int(found[1], 16) if found else None
        operands = (match[3] or "").partition("#")[0].strip()
        instructions.append(Instruction(int(match[1], 16), match[2], target, operands))
    return instructions
