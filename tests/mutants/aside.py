"""A copy of the work tree, aside: patched, built, and gone at the end.

The copy is in a folder of its own. What Bazel builds from it stays in a cache of the user's, so that
the next time only what differs is compiled.
"""

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from fuzz.campaign.process import EngineProcess
from tests.mutants import mutant

ROOMS = ("core/", "hal/", "kernel-glue/", "fuzz/")
_LEFT_OUT = (".git", "out", ".cache", "__pycache__")
_STEP = re.compile(r"^\[(\d[\d,]*) / (\d[\d,]*)\]")
_ERROR = re.compile(r"^(\S+?):(\d+):(\d+): (?:fatal )?error: (.*)$")
_POLL_SECONDS = 0.1
_TOOLCHAIN, _KNOWN_FOLDERS = "bazel/toolchains/config.bzl", "cxx_builtin_include_directories = ["
# What a compiler, or the build that tells it what to do, reads.
_COMPILED = (".h", ".cc", ".c", ".S", ".s", ".inc", ".ld", ".lds", ".bazel", ".bzl")
_COMMENTED = (".h", ".cc", ".c", ".inc")
# A comment, or what looks like one inside a literal.
_COMMENT = re.compile(
    r"//(?:\\\n|[^\n])*|/\*.*?\*/"
    r"|R\"(\w*)\(.*?\)\1\"|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])'", re.DOTALL)


class AsideError(Exception):
    """The change cannot be tried; the text says what to mend."""


def patched_files(text: str) -> list[str]:
    """The files that a unified diff changes, relative to the top of the tree."""
    pairs = re.findall(r"^--- (\S+).*\n\+\+\+ (\S+)", text, re.MULTILINE)
    names = [new if new != "/dev/null" else old for old, new in pairs]
    return [re.sub(r"^[ab]/", "", name) for name in names]


def is_compiled(name: str) -> bool:
    """Whether a compiler, or the build, may read such a file at all."""
    return name.endswith(_COMPILED)


def code_of(name: str, text: str) -> str:
    """What a compiler sees of a file: without comments and blank space, or nothing if none reads it."""
    if not name.endswith(_COMMENTED):
        return text if is_compiled(name) else ""
    # The space in a literal is no blank space.
    bare = _COMMENT.sub(lambda match: " " if match[0].startswith("/")
                        else match[0].encode().hex(), text)
    lines = (" ".join(line.split()) for line in bare.splitlines())
    return "\n".join(line for line in lines if line)


def _text_of(file: Path) -> str:
    return file.read_text(errors="replace") if file.is_file() else ""


def _committed(workspace: Path, name: str) -> str:
    run = subprocess.run(["git", "-C", str(workspace), "show", f"HEAD:./{name}"], capture_output=True,
                         text=True, errors="replace", check=False)
    return run.stdout if run.returncode == 0 else ""


def changed_files(workspace: Path) -> list[str]:
    """Files of the rooms that differ from the last commit, new ones included."""
    argv = ["git", "-C", str(workspace), "status", "--porcelain", "--untracked-files=all",
            "--no-renames", "--", *(room.rstrip("/") for room in ROOMS)]
    try:
        run = subprocess.run(argv, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise AsideError("git is not installed; run tools/setup.") from error
    if run.returncode != 0:
        raise AsideError(f"git cannot tell what changed: {run.stderr.strip()}")
    return [line[3:] for line in run.stdout.splitlines()]


def _why_not(output: str) -> str:
    """What `patch` said, in a line for each hunk that does not fit."""
    lines, file = [], "?"
    for line in output.splitlines():
        if match := re.match(r"(?:checking|patching) file '?([^']+)'?", line):
            file = match[1]
        elif match := re.match(r"Hunk #(\d+) (?:FAILED|failed) at (\d+)", line):
            lines.append(f"  {file}: hunk {match[1]} does not fit, near line {match[2]}")
        elif "can't find file" in line or "No file to patch" in line:
            lines.append("  it changes a file that is not in the work tree")
        elif "previously applied" in line or "Reversed" in line:
            lines.append(f"  {file}: the work tree has this change already")
        elif "malformed patch" in line or "Only garbage" in line:
            lines.append(f"  {line.strip('* ').removeprefix('patch: ').strip('* ')}")
    return "\n".join(dict.fromkeys(lines)) or output.strip()


def _complaint(lines: list[str]) -> str:
    """The first error of a build, with the lines that the compiler shows of it."""
    for number, line in enumerate(lines):
        if match := _ERROR.match(line):
            shown = [f"  {match[1]}:{match[2]}:{match[3]}: {match[4]}"]
            for more in lines[number + 1:number + 7]:
                if not more.strip() or _ERROR.match(more) or re.match(r"\S+:\d+:\d+: ", more) \
                        or not more.startswith((" ", "\t")):
                    break
                shown.append("  " + more)
            return "\n".join(shown)
    errors = [line for line in lines if "ERROR" in line or "error:" in line]
    return "\n".join("  " + line for line in (errors[:3] or lines[-10:]))


def cache_folder() -> Path | None:
    """Where built things outlive a run; None where the user has no such place."""
    home = os.environ.get("XDG_CACHE_HOME") or (os.environ.get("HOME") or "") + "/.cache"
    folder = Path(home) / "shootdown" / "aside"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


class Aside:
    """The copy. A context manager: at its end, copy and build server are gone."""

    def __init__(self, workspace: Path, scratch: Path):
        self._scratch = scratch
        self._workspace = workspace
        self.tree = scratch / "tree"
        cache = cache_folder()
        self._base = (cache or scratch) / "base"
        self._lock = open((cache or scratch) / "lock", "w", encoding="ascii")
        self._process: EngineProcess | None = None
        self._used = False
        shutil.copytree(workspace, self.tree, symlinks=True, ignore=lambda folder, names: [
            name for name in names if name in _LEFT_OUT
            or (Path(folder) == workspace and name.startswith("bazel-"))])

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        if self._process is not None and self._process.running():
            self._process.interrupt()
            deadline = time.monotonic() + 20
            while self._process.running() and time.monotonic() < deadline:
                time.sleep(_POLL_SECONDS)
        if self._used:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run([*self._bazel(), "shutdown"], cwd=self.tree, timeout=30, check=False,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._lock.close()

    def apply(self, patch: Path) -> None:
        """Puts the change in. Raises AsideError that names file and hunk if it does not fit."""
        text = patch.read_text(errors="replace")
        strip = 1 if re.search(r"^\+\+\+ b/|^--- a/", text, re.MULTILINE) else 0
        try:
            mutant.apply(patch, self.tree, fuzz=2, strip=strip)
        except mutant.MissingTool as error:
            raise AsideError(f"{error}.") from error
        except mutant.MutantError as error:
            raise AsideError(f"{patch} does not apply:\n{_why_not(str(error))}") from error

    def compiled(self, files: list[str], before: Callable[[str], str]) -> list[str]:
        """Those of the files in which a compiler reads something else than in what was `before`."""
        return [name for name in files
                if code_of(name, _text_of(self.tree / name)) != code_of(name, before(name))]

    def of_workspace(self, name: str) -> str:
        """A file as it is in the work tree."""
        return _text_of(self._workspace / name)

    def of_commit(self, name: str) -> str:
        """A file as it was committed last."""
        return _committed(self._workspace, name)

    def used(self, labels: list[str], files: list[str]) -> list[str]:
        """Those of the files of which some program is made. The build's own files are of all."""
        self._acquire(lambda state: None)
        self._used = True
        # Of what is configured: a query of what is written does not see behind the flags that name the core.
        query = f"kind('source file', deps(set({' '.join(labels)})))"
        run = subprocess.run([*self._bazel(), "cquery", "--color=no", "--noshow_progress", "--output=label", query],
                             cwd=self.tree, capture_output=True, text=True, check=False)
        if run.returncode != 0:
            raise AsideError("it does not build:\n" + _complaint(run.stderr.splitlines()))
        labels = [line.split()[0] for line in run.stdout.splitlines() if line.strip()]
        inputs = {label.removeprefix("//").replace(":", "/").lstrip("/") for label in labels}
        return [name for name in files if name in inputs or name.endswith((".bazel", ".bzl"))]

    def _bazel(self) -> list[str]:
        return ["bazel", f"--output_base={self._base}", "--max_idle_secs=60"]

    def build(self, labels: list[str], tick: Callable[[str], None], counted: list[str] | None = None) -> None:
        """Builds; `tick` is told how far it is. Raises AsideError with the first error.

        With `counted`, the programs count how often each line of these files runs, and leave the counts where the
        variable LLVM_PROFILE_FILE says. That each header compiles on its own is not asked here.
        """
        self._acquire(tick)
        self._used = True
        argv = [*self._bazel(), "build", "--color=no", "--curses=no", "--show_progress_rate_limit=0.5",
                "--noshow_loading_progress", "--noprocess_headers_in_dependencies", *self._counting(counted), *labels]
        self._process = EngineProcess(argv, {}, self.tree, self._scratch / "build.log")
        lines, state = [], "getting ready"
        while True:
            running = self._process.running()
            for line in self._process.new_lines():
                if match := _STEP.match(line):
                    state = f"step {match[1]} of {match[2]}"
                else:
                    lines.append(line)
            if not running:
                break
            tick(state)
            time.sleep(_POLL_SECONDS)
        self._process.close()
        if self._process.status != 0:
            raise AsideError("it does not build:\n" + _complaint(lines))

    def _counting(self, files: list[str] | None) -> list[str]:
        """The options that make lines of these files count.

        The list of files is no input that Bazel knows of, which is as it should be: what does not include one of the
        files is the same with every list, and what does is compiled anew with the change. Its place must not change.
        """
        if files is None:
            return []
        folder = self._base.parent / "counted_files"
        folder.mkdir(exist_ok=True)
        chosen = folder / "list"
        toolchain = self.text_of(_TOOLCHAIN)
        if _KNOWN_FOLDERS not in toolchain:
            return []
        if str(folder) not in toolchain:
            # The compiler names the list among what it has read, and Bazel wants to know of that.
            self.put(_TOOLCHAIN, toolchain.replace(_KNOWN_FOLDERS, f'{_KNOWN_FOLDERS}\n            "{folder}",'))
        chosen.write_text("[clang]\ndefault:skip\n" + "".join(f"source:*{file}=allow\n" for file in files))
        return ["--copt=-fprofile-instr-generate", "--copt=-fcoverage-mapping", f"--copt=-fprofile-list={chosen}",
                "--linkopt=-fprofile-instr-generate"]

    def _acquire(self, tick: Callable[[str], None]) -> None:
        """One build at a time uses the cache."""
        if shutil.which("bazel") is None:
            raise AsideError("bazel is not installed; run tools/setup.")
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                tick("waiting for another one that is being built")
                time.sleep(_POLL_SECONDS)

    def text_of(self, name: str) -> str:
        """A file as it is tried."""
        return _text_of(self.tree / name)

    def put(self, name: str, text: str) -> None:
        """Changes a file of the copy."""
        (self.tree / name).write_text(text)

    def program(self, path: str) -> Path:
        """A program that was built, such as fuzz/search_bin."""
        return self.tree / "bazel-bin" / path
