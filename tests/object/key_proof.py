"""The argument that asking for a static key costs a no-op and no load.

Every place that asks is listed in the section `shootdown_keys`: the address of five bytes, where to go
when the key is off, and which key it is. The proof has three parts:
  1. each listed place is the five-byte no-op, one instruction, and its other branch begins with an
     instruction;
  2. the way through the flush core holds a place of the concurrent flush's key;
  3. on that way no constant refers to a key, so no instruction there can load one: neither four bytes
     that are a key's address, absolute or sign-extended, nor four that are its distance.
The way is every function that direct calls and jumps reach from the entry points.
"""

import dataclasses
import struct

NO_OP = bytes.fromhex("0f1f440000")
FLUSH_KEY = "shootdown::x86::concurrent_key"

# An immediate operand may stand between a distance and the end of the instruction it counts from.
_IMMEDIATE_BYTES = (0, 1, 2, 4)

# Where the way ends: these do not return, and what they print is no hot path.
_COLD = ("shootdown::x86::platform_fail(",)


@dataclasses.dataclass(frozen=True)
class Site:
    """A place that asks for a key."""
    code: int
    off: int
    key: int


def sites(elf):
    contents = elf.section("shootdown_keys").contents
    return [Site(*fields) for fields in struct.iter_unpack("<QQQ", contents)]


def entry_points(elf, hal):
    """Where a flush starts: on the CPU that asks for it, and on the others."""
    names = (f"shootdown::TranslationsQuiet shootdown::flush_tlb_mm<{hal}>(",
             f"shootdown::TranslationsQuiet shootdown::flush_tlb_mm_range<{hal}>(",
             f"void shootdown::internal::run_flush_call<{hal}>(",
             f"void shootdown::internal::flush_kernel<{hal}>(")
    found = [function for function in elf.functions if function.name.startswith(names)]
    if not found:
        raise LookupError(f"{elf.path} has no flush core over {hal}")
    return found


def way_from(elf, functions):
    """All functions that direct calls and jumps reach, the first ones included."""
    way, waiting = [], list(functions)
    while waiting:
        function = waiting.pop()
        if function in way or function.name.startswith(_COLD):
            continue
        way.append(function)
        targets = (instruction.target for instruction in elf.code_of(function))
        reached = (elf.function_at(target) for target in targets if target is not None)
        waiting += [function for function in reached if function is not None]
    return way


def constants_naming(elf, function, address):
    """Addresses in the function of four bytes that could be the address or a distance to it."""
    code = elf.read(function.address, function.size)
    # No constant begins inside a listed no-op, whose own bytes read like a distance of 17 KiB.
    no_ops = {site.code + byte for site in sites(elf) for byte in range(len(NO_OP))}
    found = []
    for offset in range(len(code) - 3):
        here = function.address + offset
        if here in no_ops:
            continue
        signed, unsigned = struct.unpack_from("<i", code, offset)[0], struct.unpack_from("<I", code, offset)[0]
        distances = (here + 4 + extra + signed for extra in _IMMEDIATE_BYTES)
        if address in (unsigned, signed % 2**64, *distances):
            found.append(here)
    return found


def _site_problems(elf, site):
    here = f"the place at {site.code:#x}"
    if elf.read(site.code, len(NO_OP)) != NO_OP:
        yield f"{here} is not the five-byte no-op"
    if not elf.is_instruction(site.code) or not elf.is_instruction(site.code + len(NO_OP)):
        yield f"{here} is not one instruction"
    if not elf.is_instruction(site.off):
        yield f"{here} jumps into an instruction"
    if elf.function_at(site.code) is None:
        yield f"{here} is in no function"


def problems(elf, hal):
    """What keeps the proof from holding for the core over this HAL; empty if it holds."""
    found = [problem for site in sites(elf) for problem in _site_problems(elf, site)]
    way = way_from(elf, entry_points(elf, hal))
    key = elf.named(FLUSH_KEY)
    asked = [site for site in sites(elf) if key.holds(site.key)]
    if not any(elf.function_at(site.code) in way for site in asked):
        found.append("no place of the concurrent flush's key is on the way")
    for address in sorted({site.key for site in sites(elf)} | {key.address}):
        for function in way:
            found += [f"{function.name} refers to the key at {address:#x} (at {here:#x})"
                      for here in constants_naming(elf, function, address)]
    return found
