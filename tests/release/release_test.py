"""The release archive, unpacked in an empty folder: consumers built with make, CMake, Meson, g++ and clang; the same
bytes each time.
"""

import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
import unittest
from pathlib import Path

from tools.release import make_release

ROOT = Path(os.environ["TEST_SRCDIR"]) / os.environ["TEST_WORKSPACE"]
ARCHIVE = ROOT / os.environ["ARCHIVE"]
LIBRARY = ROOT / os.environ["LIBRARY"]

_MACHINE = "-O2 -ffreestanding -fno-pic -mcmodel=kernel -mno-red-zone -mgeneral-regs-only -fno-stack-protector".split()
_LINK = "-nostdlib -static -no-pie -Wl,--build-id=none -Wl,-Ttext-segment=0xffffffff80000000".split()
_WARNINGS = ["-Wall", "-Wextra", "-Werror"]

_MAKEFILE = """\
CC = gcc-12
kernel: user.c
\t$(CC) -std=c99 {machine} {warnings} `pkg-config --cflags shootdown` $< {link} `pkg-config --libs shootdown` -o $@
"""

_CMAKE = """\
cmake_minimum_required(VERSION 3.20)
project(kernel C)
find_package(shootdown 1.0 REQUIRED CONFIG)
add_executable(kernel user.c)
target_compile_options(kernel PRIVATE {machine} {warnings})
target_link_options(kernel PRIVATE {link})
target_link_libraries(kernel PRIVATE shootdown::shootdown)
"""

_MESON = """\
project('kernel', 'c')
shootdown = dependency('shootdown', version: '>=1.0', fallback: ['shootdown', 'shootdown_dep'])
executable('kernel', 'user.c', dependencies: shootdown, c_args: {machine}, link_args: {link})
"""


class ReleaseTest(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        with tarfile.open(ARCHIVE) as archive:
            archive.extractall(self.folder)
        self.release = self.folder / make_release.NAME
        user = (ROOT / "tests/embed/user.c").read_text()
        self.assertIn('"kernel-glue/embed/shootdown.h"', user)
        self.write("user.c", user.replace('"kernel-glue/embed/shootdown.h"', '"shootdown/shootdown.h"'))

    def write(self, name, text):
        words = {"machine": " ".join(_MACHINE), "warnings": " ".join(_WARNINGS), "link": " ".join(_LINK)}
        if name == "meson.build":
            words = {"machine": str(_MACHINE), "link": str(_LINK)}
        for word, value in words.items():
            text = text.replace("{%s}" % word, value)
        (self.folder / name).write_text(text)

    def run_in_folder(self, *command, **environment):
        run = subprocess.run([str(word) for word in command], cwd=self.folder, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
                             env={"PATH": os.environ["PATH"], "HOME": str(self.folder), **environment})
        self.assertEqual(run.returncode, 0, f"{command}\n{run.stdout}")
        return run.stdout

    def assert_kernel(self, path):
        symbols = self.run_in_folder("nm", path)
        self.assertIn(" T sd_flush_range", symbols)
        self.assertNotIn(" U ", symbols)

    def test_checksums(self):
        listed = dict(reversed(line.split("  ")) for line in (self.release / "SHA256SUMS").read_text().splitlines())
        files = {str(path.relative_to(self.release)) for path in self.release.rglob("*") if path.is_file()}
        self.assertEqual(set(listed), files - {"SHA256SUMS"})
        for name, digest in listed.items():
            self.assertEqual(hashlib.sha256((self.release / name).read_bytes()).hexdigest(), digest, name)
        self.assertGreater(len(files), 40)
        self.assertIn("MIT License", (self.release / "LICENSE").read_text())

    def test_same_bytes_each_time(self):
        first = self.folder / "first.tar.gz"
        again = self.folder / "again.tar.gz"
        copy = self.folder / "copy"
        for name in ("core", "freestanding", "hal", "kernel-glue", "tools", "LICENSE", "PORTING.md"):
            source = ROOT / name
            shutil.copytree(source, copy / name) if source.is_dir() else shutil.copy2(source, copy / name)
        for path in copy.rglob("*"):
            os.utime(path, (1, 1))
        self.assertEqual(make_release.main([str(first), str(ROOT), str(LIBRARY)]), 0)
        self.assertEqual(make_release.main([str(again), str(copy), str(LIBRARY)]), 0)
        self.assertEqual(first.read_bytes(), again.read_bytes())
        self.assertEqual(first.read_bytes(), ARCHIVE.read_bytes())

    def test_make_and_pkg_config(self):
        self.write("Makefile", _MAKEFILE)
        path = str(self.release / "lib/pkgconfig")
        self.assertEqual(self.run_in_folder("pkg-config", "--modversion", "shootdown", PKG_CONFIG_PATH=path).strip(),
                         make_release.VERSION)
        self.run_in_folder("make", PKG_CONFIG_PATH=path)
        self.assert_kernel("kernel")

    def test_cmake(self):
        self.write("CMakeLists.txt", _CMAKE)
        for compiler in ("gcc-12", "clang-14", "clang-19"):
            with self.subTest(compiler=compiler):
                self.run_in_folder("cmake", "-S", ".", "-B", compiler, f"-DCMAKE_C_COMPILER={compiler}",
                                   f"-DCMAKE_PREFIX_PATH={self.release}")
                self.run_in_folder("cmake", "--build", compiler)
                self.assert_kernel(f"{compiler}/kernel")

    def test_cmake_refuses_a_later_version(self):
        self.write("CMakeLists.txt", _CMAKE.replace("shootdown 1.0", "shootdown 99.0"))
        run = subprocess.run(["cmake", "-S", ".", "-B", "build", f"-DCMAKE_PREFIX_PATH={self.release}"],
                             cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        self.assertNotEqual(run.returncode, 0)
        self.assertIn("version: 1.0.0", run.stdout)

    def test_meson(self):
        self.write("meson.build", _MESON)
        shutil.copytree(self.release, self.folder / "subprojects/shootdown")
        self.run_in_folder("meson", "setup", "build", CC="gcc-12")
        self.run_in_folder("ninja", "-C", "build")
        self.assert_kernel("build/kernel")

    def test_single_header_and_the_headers(self):
        port = (ROOT / "tests/embed/port.cc").read_text()
        one = port.replace('#include "core/shootdown.h"\n', '#include "shootdown.hpp"\n') \
            .replace('#include "hal/x86_64/hal_for.h"\n', "")
        many = port.replace('#include "core/', '#include "shootdown/core/') \
            .replace('#include "hal/', '#include "shootdown/hal/')
        options = ["-std=c++20", "-fno-exceptions", "-fno-rtti", *_MACHINE, *_WARNINGS, "-nostdinc", "-nostdinc++",
                   "-isystem", self.release / "freestanding/include", "-I", self.release / "include"]
        for text in (one, many):
            self.assertNotEqual(text, port)
            (self.folder / "port.cc").write_text(text)
            for compiler in ("g++-12", "clang++-14", "clang++-19"):
                with self.subTest(compiler=compiler, header=text.splitlines()[1]):
                    self.run_in_folder(compiler, *options, "-c", "port.cc", "-o", "port.o")

    def test_library_from_its_source(self):
        options = ["-std=c++20", "-fno-exceptions", "-fno-rtti", *_MACHINE, "-DSD_MAX_CPUS=8", "-nostdinc",
                   "-nostdinc++", "-isystem", self.release / "freestanding/include", "-I", self.release / "include"]
        self.run_in_folder("g++-12", *options, "-c", self.release / "src/library.cc", "-o", "library.o")
        self.run_in_folder("gcc-12", "-std=c99", *_MACHINE, "-DSD_MAX_CPUS=8", "-I", self.release / "include", "-c",
                           "user.c", "-o", "user.o")
        self.run_in_folder("gcc-12", *_LINK, "-mcmodel=kernel", "user.o", "library.o", "-o", "kernel")
        self.assert_kernel("kernel")

    def test_usage(self):
        self.assertEqual(make_release.main([]), 2)
        out = self.folder / "x"
        self.assertEqual(make_release.main([str(out), str(self.folder), str(LIBRARY)]), 2)
        self.assertEqual(make_release.main([str(out), str(ROOT), str(ROOT / "LICENSE")]), 2)
        out.mkdir()
        self.assertEqual(make_release.main([str(out), str(ROOT), str(LIBRARY)]), 2)
        self.assertEqual(list(self.folder.glob("x*")), [out])


if __name__ == "__main__":
    unittest.main(verbosity=2)
