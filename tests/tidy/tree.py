"""The source tree as the tidy checks see it."""

import ast
import os
import re

CPP = (".h", ".cc", ".c", ".inc")
HEADER = (".h",)
ASSEMBLER = (".S", ".asm", ".ld")
PYTHON = (".py",)
STARLARK = (".bzl", ".bazel")
SHELL = (".sh",)
PROSE = (".md", ".txt")
# C and C++ by names that no check here would read.
OTHER_CPP = (".cpp", ".cxx", ".c++", ".C", ".hh", ".hpp", ".hxx", ".inl", ".ipp", ".s")

# Folders that hold no source: what Bazel, git and the tools write.
_SKIPPED_FOLDERS = {".git", ".cache", "out", "__pycache__"}
# In a git worktree .git is a file.
_SKIPPED_FILES = {".git", ".bazelrc.user", "compile_commands.json"}


class File:
    """One source file: its path below the root, and its lines."""

    def __init__(self, root, path):
        self.root = root
        self.path = path
        with open(os.path.join(root, path), "rb") as file:
            data = file.read()
        self.is_text = b"\0" not in data
        self.text = data.decode("utf-8", errors="replace") if self.is_text else ""
        self.lines = self.text.split("\n")
        self.is_executable = os.access(os.path.join(root, path), os.X_OK)

    def is_a(self, *kinds):
        """Whether the file's ending is in one of the tuples, a shebang counting as an ending."""
        return any(self._ending() in kind for kind in kinds)

    def is_code(self):
        return self.is_a(CPP, ASSEMBLER, PYTHON, STARLARK, SHELL)

    def _ending(self):
        name = os.path.basename(self.path)
        if name in ("WORKSPACE", ".bazelrc"):
            return ".bazel"
        if "." not in name.lstrip(".") and self.text.startswith("#!"):
            return ".py" if "python" in self.lines[0] else ".sh"
        return os.path.splitext(name)[1]

    def includes(self):
        """Yields (line number, what stands between the quotes or brackets, whether it is quoted)."""
        for number, line in enumerate(self.lines, 1):
            match = re.match(r'\s*#\s*include(?:_next)?\s*(?:"([^"]+)"|<([^>]+)>)', line)
            if match:
                yield number, match.group(1) or match.group(2), match.group(1) is not None


class Tree:
    """All text files below a folder."""

    def __init__(self, root):
        self.root = root
        files = (File(root, path) for path in sorted(_walk(root)))
        self.files = [file for file in files if file.is_text]
        self.paths = {file.path for file in self.files}

    def folders(self):
        return {os.path.dirname(path) for path in self.paths}


def _walk(root):
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if name not in _SKIPPED_FOLDERS]
        for name in names:
            path = os.path.join(folder, name)
            # Bazel's convenience links are links to folders, which os.walk neither enters nor opens.
            if not os.path.islink(path) and name not in _SKIPPED_FILES:
                yield os.path.relpath(path, root)


def build_attributes(source):
    """Yields (file, keyword) for each attribute of each call in each BUILD file."""
    for file in source.files:
        if os.path.basename(file.path) not in ("BUILD.bazel", "BUILD"):
            continue
        # BUILD files are written in a subset of Python's syntax.
        for call in ast.walk(ast.parse(file.text, file.path)):
            if isinstance(call, ast.Call):
                for keyword in call.keywords:
                    yield file, keyword


def strings_of(expression):
    """The strings that stand anywhere in the value of an attribute."""
    return [node.value for node in ast.walk(expression)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)]
