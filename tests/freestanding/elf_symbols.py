"""Sections and symbols of an ELF file for x86-64, an object or a program, without any tool."""

import dataclasses
import struct

_SYMBOL_TABLE = 2
_NO_BITS = 8
_UNIQUE = 10  # STB_GNU_UNIQUE
_THREAD_LOCAL = 6
_FIRST_RESERVED = 0xff00


@dataclasses.dataclass(frozen=True)
class Section:
    name: str
    kind: int
    size: int

    @property
    def takes_no_room(self):
        return self.kind == _NO_BITS


@dataclasses.dataclass(frozen=True)
class Symbol:
    """A symbol; `section` is None if it is undefined. An absolute one has a section of its own."""
    name: str
    size: int
    section: object
    is_unique: bool
    is_thread_local: bool


@dataclasses.dataclass(frozen=True)
class File:
    sections: list
    symbols: list


def _text(data, offset):
    return data[offset:data.index(b"\0", offset)].decode()


def read(path):
    """The file at `path`; ValueError if it is no such file."""
    with open(path, "rb") as file:
        data = file.read()
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError(f"{path} is no ELF file of 64 bits")
    table = struct.unpack_from("<Q", data, 40)[0]
    entry_size, count, names = struct.unpack_from("<HHH", data, 58)
    headers = [struct.unpack_from("<IIQQQQIIQQ", data, table + i * entry_size) for i in range(count)]
    sections = [Section(_text(data, headers[names][4] + header[0]), header[1], header[5]) for header in headers]
    symbols = []
    for header in headers:
        if header[1] != _SYMBOL_TABLE:
            continue
        strings = headers[header[6]][4]
        for offset in range(header[4] + header[9], header[4] + header[5], header[9]):
            name, info, _, index, _, size = struct.unpack_from("<IBBHQQ", data, offset)
            if index >= _FIRST_RESERVED:
                section = Section("*ABS*", 0, 0)
            else:
                section = sections[index] if index else None
            symbols.append(Symbol(_text(data, strings + name), size, section, info >> 4 == _UNIQUE,
                                  info & 15 == _THREAD_LOCAL))
    return File(sections, symbols)
