"""The kernel alone as QEMU takes it: a 32-bit file with the segments where they are to be in memory."""

import struct
import unittest

from bochs_runner import boot_image

BASE = 0xffffffff80000000
SEGMENTS = [  # kind, flags, offset, virtual, physical, bytes in the file, bytes in memory
    (1, 7, 0x200, 0x100000, 0x100000, 4, 0x4000),
    (1, 5, 0x300, BASE + 0x104000, 0x104000, 6, 6),
    (4, 0, 0, 0, 0, 0, 0),  # a note, which is not loaded
]


def kernel():
    head = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0x10000c, 64, 0, 0, 64, 56,
                                                          len(SEGMENTS), 0, 0, 0)
    for kind, flags, offset, virtual, physical, in_file, in_memory in SEGMENTS:
        head += struct.pack("<IIQQQQQQ", kind, flags, offset, virtual, physical, in_file, in_memory, 0x1000)
    return head.ljust(0x200, b"\0") + b"boot".ljust(0x100, b"\0") + b"kernel"


class BootImageTest(unittest.TestCase):

    def test_elf32(self):
        image = boot_image.as_elf32(kernel())
        kind, machine, _, entry, table = struct.unpack_from("<HHIII", image, 16)
        self.assertEqual((image[:5], kind, machine, entry), (b"\x7fELF\x01", 2, 3, 0x10000c))
        count, = struct.unpack_from("<H", image, 44)
        self.assertEqual(count, 2)
        loaded = {}
        for index in range(count):
            _, offset, virtual, physical, in_file, in_memory = struct.unpack_from("<6I", image, table + 32 * index)
            self.assertEqual(virtual, physical)
            loaded[physical] = image[offset:offset + in_file], in_memory
        self.assertEqual(loaded, {0x100000: (b"boot", 0x4000), 0x104000: (b"kernel", 6)})

    def test_what_is_a_kernel(self):
        self.assertTrue(boot_image.is_kernel(kernel()))
        self.assertFalse(boot_image.is_kernel(b"a CD image"))


if __name__ == "__main__":
    unittest.main()
