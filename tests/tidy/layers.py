"""The picture of the layers in ARCHITECTURE.md, held against the includes of the tree.

The picture is a fenced block that begins with ```layers. Each line of it is a folder and, after a colon, the
folders whose headers it may include, all of them on lines further up:

    core:
    hal/host: core

A layer is the folder and all that is below it. If folders below it are layers themselves, it is only the
files beside them, so that a new folder there must be put into the picture.
"""

import os
import re

from tests.tidy import rooms
from tests.tidy import tree

PICTURE = "ARCHITECTURE.md"

_BLOCK = re.compile(r"^```layers\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Layer:
    """One line of the picture."""

    def __init__(self, number, name, lower):
        self.number = number
        self.name = name
        self.lower = lower


class Picture:
    """The layers by name, bottom first, and what is wrong with the picture itself."""

    def __init__(self, text):
        self.layers = {}
        self.faults = []
        block = _BLOCK.search(text)
        if block is None:
            self.faults.append((0, "has no block ```layers"))
            return
        first = text.count("\n", 0, block.start(1)) + 1
        for number, line in enumerate(block.group(1).splitlines(), first):
            self._read(number, line)

    def _read(self, number, line):
        name, colon, rest = line.partition(":")
        if not colon or not name or re.search(r"\s", name):
            self.faults.append((number, f"{line!r} is not of the form FOLDER: FOLDER..."))
            return
        if name in self.layers:
            self.faults.append((number, f"{name} is in the picture twice"))
            return
        lower = rest.split()
        for used in lower:
            # With every arrow pointing upwards on the page there is no circle, and no two layers know each other.
            if used not in self.layers:
                self.faults.append((number, f"{name} may not use {used}: no line above this one draws it"))
        self.layers[name] = Layer(number, name, lower)

    def layer_of(self, path):
        """The name of the layer that a file belongs to, or None."""
        folder = os.path.dirname(path)
        above = [name for name in self.layers if folder == name or folder.startswith(name + "/")]
        owner = max(above, key=len, default=None)
        divided = owner and any(name.startswith(owner + "/") for name in self.layers)
        return None if divided and folder != owner else owner

    def layers_of_package(self, build_file, paths):
        """The layers whose targets stand in a BUILD file: its folder's, and those below that have no BUILD file."""
        folder = os.path.dirname(build_file)
        below = [name for name in self.layers
                 if name.startswith(folder + "/") and f"{name}/BUILD.bazel" not in paths]
        own = self.layer_of(build_file)
        return ([own] if own else []) + below


def layers(source):
    """The layers include each other as the picture in ARCHITECTURE.md says, no more and no less."""
    picture = Picture(next((file.text for file in source.files if file.path == PICTURE), ""))
    for number, message in picture.faults:
        yield PICTURE, number, message
    if not picture.layers:
        return
    used = set()
    missing = {}
    for file in source.files:
        if not file.is_a(tree.CPP, (".S",)):
            continue
        user = picture.layer_of(file.path)
        if user is None:
            missing.setdefault(os.path.dirname(file.path), file.path)
            continue
        for number, name, _ in file.includes():
            lower = picture.layer_of(name)
            if lower is None or lower == user:
                continue
            used.add((user, lower))
            if lower not in picture.layers[user].lower:
                yield file.path, number, f"{user} may not include {name}: {PICTURE} draws no such arrow"
    for folder, path in sorted(missing.items()):
        yield path, 0, f"{folder or 'the root'} is no layer of the picture in {PICTURE}"
    occupied = {picture.layer_of(file.path) for file in source.files if file.is_a(tree.CPP, (".S",))}
    for layer in picture.layers.values():
        if layer.name not in occupied:
            yield PICTURE, layer.number, f"{layer.name} has no C++ file"
        for lower in layer.lower:
            if (layer.name, lower) not in used:
                yield PICTURE, layer.number, f"{layer.name} includes nothing of {lower}: take the arrow away"


def linked_layers(source):
    """A target links no layer that the picture keeps its own layer from including."""
    picture = Picture(next((file.text for file in source.files if file.path == PICTURE), ""))
    for file, attribute in tree.build_attributes(source):
        users = picture.layers_of_package(file.path, source.paths)
        if attribute.arg != "deps" or not users:
            continue
        allowed = set(users).union(*(picture.layers[user].lower for user in users))
        for label in tree.strings_of(attribute.value):
            package = label[2:].split(":")[0] if label.startswith("//") else ""
            # Of a package with several layers any may be meant.
            lower = set(picture.layers_of_package(package + "/BUILD.bazel", source.paths)) - {"bazel"}
            # What one room may not use of another one is for label_layers to say, whichever attribute it stands in.
            seen = not rooms.may_use(rooms.room_of(file.path), rooms.room_of(package))
            if not seen and lower and not lower & allowed:
                line = attribute.value.lineno
                yield file.path, line, f"{users[0]} may not link {label}: {PICTURE} draws no such arrow"
