"""Checks of what the rooms use: includes, and labels in BUILD files."""

import ast
import os
import re

from tests.tidy import rooms
from tests.tidy import tree


def room_readme(source):
    """Each room, and each of the other folders at the top, has a README.md."""
    folders = source.folders()
    for room in list(rooms.ROOMS) + rooms.FREE:
        exists = any(folder == room or folder.startswith(room + "/") for folder in folders)
        if exists and f"{room}/README.md" not in source.paths:
            yield f"{room}/README.md", 0, "is missing"


def reading_order(source):
    """A README's reading order names each header of its folder once, and after all that it includes."""
    for file in source.files:
        if os.path.basename(file.path) != "README.md" or not _is_below(_package(file), rooms.READ_IN_ORDER):
            continue
        folder = _package(file)
        order = _reading_order(file)
        places = {name: index for index, (name, _) in reversed(list(enumerate(order)))}
        headers = {other.path: other for other in source.files
                   if _package(other) == folder and other.is_a(tree.HEADER)}
        for path in sorted(set(headers) - set(places)):
            yield file.path, 0, f"the reading order does not name {os.path.basename(path)}"
        for index, (path, number) in enumerate(order):
            if path not in headers:
                yield file.path, number, f"the reading order names {path}, which does not exist"
                continue
            if places[path] != index:
                yield file.path, number, f"the reading order names {path} twice"
            for line, name, quoted in headers[path].includes():
                if quoted and places.get(name, -1) > places[path]:
                    yield path, line, f"{file.path} has {name} read after this file, which includes it"


def _reading_order(file):
    """[(path of a header, line)] of what the paragraph and list behind "Reading order" name."""
    found = []
    inside = False
    for number, line in enumerate(file.lines, 1):
        if line.startswith("Reading order"):
            inside = True
        elif inside and (line.startswith(("#", "|")) or (not line and found and not _is_list(file.lines, number))):
            break
        if inside:
            found += [(f"{_package(file)}/{name}", number) for name in re.findall(r"`([a-z_0-9]+\.h)`", line)]
    return found


def _is_list(lines, number):
    """Whether the line behind `number` goes on with a list."""
    return number < len(lines) and re.match(r"\d+\. |\* ", lines[number]) is not None


def include_paths(source):
    """A quoted include is relative to the root, and the file exists."""
    for file, number, name, quoted in _includes(source):
        if quoted and name not in source.paths:
            yield file.path, number, f"no file {name} below the root"


def source_includes(source):
    """Nothing includes a source: what is shared is in a header."""
    for file, number, name, quoted in _includes(source):
        if quoted and name.endswith((".cc", ".S")):
            yield file.path, number, f"{name} is a source"


def plain_includes(source):
    """Each include stands on a line of its own as the other checks read it: no macro, no splice, no #import."""
    for file in source.files:
        if not file.is_a(tree.CPP, (".S",)):
            continue
        plain = {number for number, _, _ in file.includes()}
        # What the preprocessor sees: spliced lines are one, and a comment is a blank.
        text = re.sub(r"\\\n", "\0", file.text)
        text = re.sub(r"/\*.*?\*/", lambda comment: " " + re.sub(r"[^\n\0]", "", comment[0]), text, flags=re.DOTALL)
        number = 1
        for line in text.split("\n"):
            if re.match(r"[\s\0]*(#|%:)[\s\0]*(include|import)", line.replace("\0", "")) and number not in plain:
                yield file.path, number, 'an include is written #include "path" or #include <path>, on one line'
            number += 1 + line.count("\0")


def freestanding_includes(source):
    """A freestanding room uses only headers that need no operating system."""
    for file, number, name, quoted in _includes(source):
        room = rooms.room_of(file.path)
        if not quoted and room in rooms.STD_HEADERS and name not in rooms.STD_HEADERS[room]:
            yield file.path, number, f"<{name}> is not on the list of {room}"


def label_layers(source):
    """A target depends on no room that its own room may not use."""
    for file, attribute in tree.build_attributes(source):
        if attribute.arg in ("visibility", "default_visibility"):
            continue
        user = rooms.room_of(_package(file))
        for label in tree.strings_of(attribute.value):
            used = rooms.room_of(label[2:].split(":")[0])
            if label in rooms.ALIASES.get((user, used), ()):
                continue
            if label.startswith("//") and not rooms.may_use(user, used):
                yield file.path, attribute.value.lineno, f"{user} may not use {label}"


def visibility(source):
    """A target of a room is visible only to packages that may use the room."""
    for file, attribute in tree.build_attributes(source):
        room = rooms.room_of(_package(file))
        if room is None or attribute.arg not in ("visibility", "default_visibility"):
            continue
        stand_in = _is_below(_package(file), rooms.STAND_INS)
        for label in tree.strings_of(attribute.value):
            line = attribute.value.lineno
            if stand_in and label in rooms.STOOD_IN_FOR:
                continue
            if label == "//visibility:public":
                yield file.path, line, f"{room} is visible to everyone"
            for user in _rooms_named_by(label):
                if not rooms.may_use(user, room) and label not in rooms.ALIASES.get((user, room), ()):
                    yield file.path, line, f"{room} is visible to {user} ({label})"


def compatibility(source):
    """No target of the host is limited to a platform that `bazel test //...` does not build for.

    Bazel skips such a target, and all tests that depend on it, without a sound.
    """
    for file, attribute in tree.build_attributes(source):
        package = _package(file)
        if attribute.arg != "target_compatible_with" or _is_below(package, rooms.MAY_BE_INCOMPATIBLE):
            continue
        if _is_below(package, rooms.ALWAYS_COMPATIBLE):
            yield file.path, attribute.value.lineno, f"{package} is built in every variant"
        elif ast.unparse(attribute.value) not in ("HOST_ONLY", "['@platforms//os:linux']"):
            yield file.path, attribute.value.lineno, "the only limit allowed here is HOST_ONLY"


def _includes(source):
    for file in source.files:
        if file.is_a(tree.CPP, (".S",)):
            for number, name, quoted in file.includes():
                yield file, number, name, quoted


def _package(file):
    return os.path.dirname(file.path)


def _is_below(package, folders):
    return any(package == folder or package.startswith(folder + "/") for folder in folders)


def _rooms_named_by(label):
    """The rooms to which a label in a visibility list opens a target."""
    package, _, name = label[2:].partition(":")
    if not label.startswith("//") or package == "visibility":
        return []
    inside = [room for room in rooms.ROOMS if room.startswith(package + "/")]
    named = [rooms.room_of(package)] if rooms.room_of(package) else []
    return named + (inside if name == "__subpackages__" else [])
