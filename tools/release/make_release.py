#!/usr/bin/python3
"""Makes the release archive: headers, one header with all of them, the static library, and what CMake, Meson and
pkg-config want to know. The same input gives the same bytes.

usage: make_release.py OUT ROOT LIBRARY

OUT is the archive (.tar.gz), ROOT the top folder of the project, LIBRARY its libshootdown.a.
"""

import gzip
import hashlib
import io
import re
import sys
import tarfile
from pathlib import Path

VERSION = "1.0.0"
NAME = f"shootdown-{VERSION}"

# Folders whose headers a kernel includes, and what an include of them begins with in the archive.
_FOLDERS = ("core", "core/paravirt", "hal/x86_64", "hal/x86_64/paravirt", "kernel-glue/embed")
_INCLUDE = re.compile(r'^#include "((?:core|hal/x86_64|kernel-glue/embed)/[^"]+)"', re.MULTILINE)
_AMALGAM = ("core/shootdown_all.h", "hal/x86_64/hal_for.h")
# Of hal/x86_64 what needs no source file of its own.
_HAL = {"atomic.h", "hal_for.h", "instructions.h", "invlpgb.h", "identify.h", "registers.h"}
_BLURB = """\
// Shootdown {version} in one header: the core and x86::HalFor. Made from the headers beside it, which are the ones to
// read. MIT licence, see LICENSE.
#pragma once

"""



def _place(name: str) -> str:
    """Where a header of the project goes, as an include names it."""
    return "shootdown/" + name.removeprefix("kernel-glue/embed/")


def _headers(root: Path) -> dict[str, str]:
    """The headers by their names in the project."""
    found = {}
    for folder in _FOLDERS:
        for path in sorted((root / folder).glob("*")):
            if path.suffix not in (".h", ".inc") or (folder.startswith("hal/") and path.name not in _HAL):
                continue
            found[f"{folder}/{path.name}"] = path.read_text()
    return found


def _rewritten(text: str) -> str:
    return _INCLUDE.sub(lambda match: f'#include "{_place(match[1])}"', text)


def amalgamate(headers: dict[str, str]) -> str:
    """All that the roots include, each header once, where it is first included."""
    seen: set[str] = set()

    def inline(name: str) -> str:
        # The pair of macros_begin.inc is read each time.
        if name.endswith(".h"):
            if name in seen:
                return ""
            seen.add(name)
        text = headers[name].replace("#pragma once\n", "")
        return re.sub(r'^#include "([^"]+)".*$', lambda match: inline(match[1]), text, flags=re.MULTILINE)

    return _BLURB.format(version=VERSION) + "".join(inline(name) for name in _AMALGAM)


def _templates(root: Path) -> dict[str, str]:
    folder = root / "tools/release/templates"
    return {place: (folder / name).read_text().replace("@VERSION@", VERSION) for place, name in {
        "README.md": "README.md",
        "meson.build": "meson.build",
        "lib/cmake/shootdown/shootdown-config.cmake": "shootdown-config.cmake",
        "lib/cmake/shootdown/shootdown-config-version.cmake": "shootdown-config-version.cmake",
        "lib/pkgconfig/shootdown.pc": "shootdown.pc",
    }.items()}


def contents(root: Path, library: Path) -> dict[str, bytes]:
    """The files of the archive by their paths in it."""
    headers = _headers(root)
    texts = {f"include/{_place(name)}": _rewritten(text) for name, text in headers.items()}
    texts["include/shootdown.hpp"] = amalgamate(headers)
    for name in ("library.cc", "selftest.c"):
        texts[f"src/{name}"] = _rewritten((root / "kernel-glue/embed" / name).read_text())
    for path in sorted((root / "freestanding/include").iterdir()):
        texts[f"freestanding/include/{path.name}"] = path.read_text()
    for name in ("LICENSE", "PORTING.md"):
        texts[name] = (root / name).read_text()
    files = {name: text.encode() for name, text in (texts | _templates(root)).items()}
    files["lib/libshootdown.a"] = library.read_bytes()
    sums = "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files))
    return files | {"SHA256SUMS": sums.encode()}


def archive(files: dict[str, bytes]) -> bytes:
    """The archive, without a trace of when and where it was made."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.USTAR_FORMAT) as out:
        for name in sorted(files):
            entry = tarfile.TarInfo(f"{NAME}/{name}")
            entry.size, entry.mode, entry.mtime = len(files[name]), 0o644, 0
            out.addfile(entry, io.BytesIO(files[name]))
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=packed, mode="wb", compresslevel=9, mtime=0) as out:
        out.write(tar.getvalue())
    return packed.getvalue()


def main(argv: list[str]) -> int:
    if len(argv) != 3:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    out, root, library = map(Path, argv)
    try:
        if not library.read_bytes().startswith(b"!<arch>\n"):
            raise ValueError(f"{library} is no static library")
        whole = archive(contents(root, library))
        beside = out.with_name(out.name + ".part")
        try:
            beside.write_bytes(whole)
            beside.replace(out)
        finally:
            beside.unlink(missing_ok=True)
    except (OSError, KeyError, ValueError) as error:
        print(f"make_release.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
