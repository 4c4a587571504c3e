"""The TLB code of a Linux tree as a shared object for the modelled machine. It is made in a temporary folder from the
user's own files; nothing of them stays."""

import errno
import os
import re
import shutil
import subprocess
from pathlib import Path

from ports.harness import foreign

# What is compiled, and the tree's own headers that it is compiled with.
SOURCES = ("arch/x86/mm/tlb.c", "kernel/smp.c", "lib/llist.c")
HEADERS = {"linux/llist.h": "include/linux/llist.h", "linux/smp_types.h": "include/linux/smp_types.h",
           "asm/tlbflush.h": "arch/x86/include/asm/tlbflush.h", "asm/tlbbatch.h": "arch/x86/include/asm/tlbbatch.h"}
FILES = (*SOURCES, *HEADERS.values())

# As the kernel compiles itself, as far as it changes what the code means.
_COMPILE = ["-std=gnu11", "-O2", *foreign.INSTRUMENTED, "-mllvm", "-tsan-distinguish-volatile=1",
            "-fno-strict-aliasing", "-fwrapv", "-fno-common", "-fno-delete-null-pointer-checks",
            "-mno-red-zone", "-mno-sse", "-w"]
# What is not in each tree, and where a tree that has it says so: a definition for the shim.
_PROBES = (("SHIM_SENDS_SINGLE", "kernel/smp.c", r"send_call_function_single_ipi\(int", False),
           ("SHIM_ADDS_PENDING", "arch/x86/include/asm/tlbflush.h", r"\barch_tlbbatch_add_pending\(", True))
_INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)
_MISSING = re.compile(r"error: (?:use of undeclared identifier|unknown type name|call to undeclared function|"
                      r"no member named) '([^']+)'")

# Instructions that a compiler's call does not see. An INVLPG is made a call; the others are refused by name.
_INVLPG = re.compile(r"^\tinvlpg\t\((%r\w+)\)$", re.MULTILINE)
_REFUSED = re.compile(r"^\t(lock\b.*|xchg[bwlq]\t.*\(.*|cmpxchg\w*\t.*|mov\w*\t.*%cr[0-8].*|invlpg\w*\t.*|invpcid\t.*|"
                      r"wrmsr.*|rdmsr.*|cli|sti|pushf\w*|popf\w*|hlt|swapgs|tlbsync|mfence|lfence|sfence|"
                      r"mov\w*\t.*%gs:.*)$", re.MULTILINE)


def read_tree(root: Path) -> dict[str, str]:
    """The files of the tree that are used, by their paths in it."""
    if not root.is_dir():
        raise foreign.ForeignError(f"{root} is no folder; name an unpacked tree of Linux with --source, "
                                   "or run tools/setup --linux")
    files = {}
    for name in FILES:
        path = root / name
        if not path.is_file():
            raise foreign.ForeignError(f"{root} has no {name}: is it the top of a tree of Linux, 6.1 or younger?")
        files[name] = path.read_text(encoding="utf-8", errors="replace")
    return files


def _run(command: list[str], folder: Path) -> tuple[int, str]:
    run = subprocess.run(command, cwd=folder, stderr=subprocess.PIPE, text=True, check=False)
    if run.returncode != 0 and os.strerror(errno.ENOSPC) in run.stderr:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
    return run.returncode, run.stderr


def _told(name: str, errors: str) -> foreign.ForeignError:
    missing = sorted(set(_MISSING.findall(errors)))
    lines = "\n".join(line for line in errors.splitlines() if "error:" in line)
    if missing:
        return foreign.ForeignError(f"{name} wants what ports/linux/shim/shim.h lacks: {', '.join(missing)}\n{lines}")
    return foreign.ForeignError(f"{name} does not compile against ports/linux/shim/shim.h:\n{lines}")


def _write_headers(files: dict[str, str], folder: Path) -> None:
    include = folder / "include"
    for name, path in HEADERS.items():
        (include / name).parent.mkdir(parents=True, exist_ok=True)
        (include / name).write_text(files[path])
    # All other headers are empty: the shim comes first.
    for text in files.values():
        for name in _INCLUDE.findall(text):
            path = include / name
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()


def _assembled(name: str, text: str) -> str:
    text = _INVLPG.sub(r"\tpushq\t\1\n\tcallq\tshim_invlpg_on_stack@PLT", text)
    refused = _REFUSED.search(text)
    if refused is not None:
        raise foreign.ForeignError(f"{name} has an instruction that the model does not see: {refused[1].strip()}; "
                                   "ports/linux/shim/shim.h is to make a call of it")
    return text


def _defined(files: dict[str, str]) -> list[str]:
    return [f"-D{name}" for name, path, pattern, has in _PROBES
            if (re.search(pattern, files[path]) is not None) == has]


class Builder:
    """Builds shared objects of trees in a folder of its own."""

    def __init__(self, own: Path, folder: Path):
        """`own` is ports/linux."""
        self._own = own
        self._folder = folder
        self._objects: dict[tuple[str, ...], Path] = {}
        foreign.need("clang-19")

    def build(self, files: dict[str, str]) -> tuple[Path, Path]:
        """The shared object and the file of its names."""
        folder = self._folder / "build"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _write_headers(files, folder)
        headers = tuple(files[path] for path in HEADERS.values())
        defined = _defined(files)
        texts = [(name, files[name]) for name in SOURCES] + [("glue.c", (self._own / "glue.c").read_text())]
        objects = [self._object(folder, name, text, defined, headers) for name, text in texts]
        code, names = folder / "code.so", folder / "names"
        foreign.link(objects, code)
        foreign.write_names(code, names)
        return code, names

    def preprocessed(self, files: dict[str, str]) -> list[list[str]]:
        """What the compiler is given, by words: comments and parts that are left out are not there."""
        folder = self._folder / "preprocessed"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _write_headers(files, folder)
        result = []
        for name in SOURCES:
            source = folder / Path(name).name
            source.write_text(files[name])
            command = [*self._compiler(_defined(files)), "-D__LINE__=0", "-E", "-P", source.name, "-o", "out"]
            status, errors = _run(command, folder)
            if status != 0:
                raise _told(name, errors)
            result.append((folder / "out").read_text().split())
        return result

    def _compiler(self, defined: list[str]) -> list[str]:
        return ["clang-19", *_COMPILE, *defined, "-iquote", "include", "-Iinclude",
                "-include", str(self._own / "shim/shim.h")]

    def _object(self, folder: Path, name: str, text: str, defined: list[str], headers: tuple[str, ...]) -> Path:
        """Compiled once: trees that are compared differ in one file mostly."""
        key = (name, text, *defined, *headers)
        if key not in self._objects:
            kept = self._folder / f"{len(self._objects)}.o"
            shutil.copy(self._compile(folder, Path(name).name, text, name, defined), kept)
            self._objects[key] = kept
        return self._objects[key]

    def _compile(self, folder: Path, file: str, text: str, name: str, defined: list[str]) -> Path:
        source = folder / file
        source.write_text(text)
        base = folder / source.stem
        status, errors = _run([*self._compiler(defined), "-S", file, "-o", f"{base}.s"], folder)
        if status != 0:
            raise _told(name, errors)
        assembler = Path(f"{base}.s")
        assembler.write_text(_assembled(name, assembler.read_text()))
        status, errors = _run(["clang-19", "-c", str(assembler), "-o", f"{base}.o"], folder)
        if status != 0:
            raise foreign.ForeignError(f"{name} does not assemble:\n{errors}")
        return Path(f"{base}.o")
