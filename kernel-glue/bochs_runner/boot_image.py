"""The two forms of what boots, and how the kernel's options get in: a CD image with GRUB, or the kernel alone."""

import struct

from bochs_runner.emulator import SetupError

# The blanks that grub.cfg in the image reserves for the kernel's options.
_OPTIONS_BEGIN = b'set options="'
_OPTIONS_BYTES = 1000

_ELF = b"\x7fELF"
_LOADED = 1


def with_options(machine):
    """The bytes of the machine's CD image, the kernel's options written over the blanks that it keeps for them."""
    with open(machine.image, "rb") as file:
        image = bytearray(file.read())
    blanks = _OPTIONS_BEGIN + b" " * _OPTIONS_BYTES
    if image.count(blanks) != 1:
        raise SetupError(f"{machine.image} has no place for the kernel's options; is it the image of "
                         "//kernel-glue/kernel:image?")
    options = " ".join(machine.options).encode()
    if len(options) > _OPTIONS_BYTES:
        raise SetupError(f"the kernel's options are longer than {_OPTIONS_BYTES} characters")
    start = image.index(blanks) + len(_OPTIONS_BEGIN)
    image[start:start + len(options)] = options
    return image


def is_kernel(image):
    return image[:len(_ELF)] == _ELF


def as_elf32(kernel):
    """A 64-bit kernel as the 32-bit ELF file that QEMU's Multiboot loader takes: the same segments, by their
    physical addresses."""
    entry, table = struct.unpack_from("<QQ", kernel, 24)
    count, = struct.unpack_from("<H", kernel, 56)
    segments = b""
    number = 0
    for index in range(count):
        kind, flags, offset, _, physical, in_file, in_memory, align = struct.unpack_from(
            "<IIQQQQQQ", kernel, table + 56 * index)
        if kind == _LOADED:
            number += 1
            segments += struct.pack("<8I", kind, offset, physical, physical, in_file, in_memory, flags, align)
    header = _ELF + b"\x01\x01\x01" + bytes(9)
    header += struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, entry, 52, 0, 0, 52, 32, number, 0, 0, 0)
    head = header + segments
    # The heads of a 64-bit file are longer, so what the segments hold stays where it is.
    return head + kernel[len(head):]
