"""The declarations of a C++ file, as text: enough to say which function's body or which initialiser differs.

It knows braces, literals and comments and no name of the code. What it takes for something else than it is makes
the merged file fail to compile, or the comparison with the patched one fail.
"""

import re
from dataclasses import dataclass
from enum import Enum

_TOKEN = re.compile(
    r"(?P<blank>\s+|//(?:\\\n|[^\n])*|/\*.*?\*/)"
    r"|(?P<directive>(?:(?<=\n)|\A)[ \t]*#(?:\\\n|[^\n])*)"
    r"|(?P<code>R\"(?P<raw>\w*)\(.*?\)(?P=raw)\"|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])+'"
    r"|\.?\d(?:'?[\w.])*|\w+|->|::|.)", re.DOTALL)
_CLOSES = {"(": ")", "[": "]", "{": "}"}
_ACCESS = ("public", "protected", "private")
_BEFORE_NAMES = ("inline", "constexpr", "constinit", "static", "typename", "friend")
_WITH_DECLARATIONS = ("namespace", "class", "struct", "union")
# What may stand between the parameters of a function and its body.
_BEHIND_PARAMETERS = (")", "const", "noexcept", "override", "final", "&")


class Kind(Enum):
    """What a part of a file is."""

    FUNCTION = "a function with its body"
    VALUE = "a declaration with an initialiser"
    OTHER = "another declaration, a directive, or an end of what holds declarations"


@dataclass(frozen=True)
class Declaration:
    """Its parts follow each other: with all declarations they are the file."""

    kind: Kind
    head: str
    body: str = ""  # braces included, or the initialiser's expression
    tail: str = ""

    @property
    def text(self) -> str:
        return self.head + self.body + self.tail

    @property
    def key(self) -> tuple[str, ...]:
        """The same for two versions of one declaration, of which at most the body differs."""
        return (self.kind.name, *_code(self.head), *_code(self.tail))


@dataclass(frozen=True)
class _Token:
    text: str
    begin: int
    end: int
    directive: bool = False


def _tokens(text: str) -> list[_Token]:
    return [_Token(match[0], match.start(), match.end(), match.lastgroup == "directive")
            for match in _TOKEN.finditer(text) if match.lastgroup != "blank"]


def _code(text: str) -> list[str]:
    return [token.text for token in _tokens(text)]


def _past(words: list[str], at: int, opening: str, closing: str) -> int:
    """Where what is opened at `at` has been closed."""
    depth = 0
    while at < len(words):
        depth += (words[at] == opening) - (words[at] == closing)
        at += 1
        if depth == 0:
            break
    return at


def _bare(words: list[str]) -> list[str]:
    """Without templates' parameters, attributes and specifiers in front."""
    while words:
        if words[0] == "template":
            words = words[_past(words, 1, "<", ">"):]
        elif words[:2] == ["[", "["]:
            words = words[_past(words, 0, "[", "]"):]
        elif words[0] == "alignas":
            words = words[_past(words, 1, "(", ")"):]
        elif words[0] in _BEFORE_NAMES:
            words = words[1:]
        else:
            break
    return words


def _holds_declarations(words: list[str]) -> bool:
    words = _bare(words)
    return words[:1] == ["extern"] and words[1:] == ['"C"'] or bool(words) and words[0] in _WITH_DECLARATIONS


def _outside(words: list[str]) -> list[str]:
    """What is in no parentheses, brackets or braces."""
    out, at = [], 0
    while at < len(words):
        if words[at] in _CLOSES:
            out.append(words[at])
            at = _past(words, at, words[at], _CLOSES[words[at]])
            out.append(words[at - 1])
        else:
            out.append(words[at])
            at += 1
    return out


def _is_body(words: list[str]) -> bool:
    """Whether the brace behind these words opens a function's body."""
    outside = _outside(_bare(words))
    if "(" not in outside or ("=" in outside and "operator" not in outside):
        return False
    behind = outside[outside.index("(") + 2:]
    if ":" in behind:  # a constructor's initialisers, of which some have braces, too
        return outside[-1] in (")", "}")
    return "->" in behind or outside[-1] in _BEHIND_PARAMETERS


class _Reader:
    def __init__(self, text: str):
        self._text = text
        self._tokens = _tokens(text)
        self._at = 0
        self._done = 0  # characters that belong to a declaration
        self.found: list[Declaration] = []

    def read(self) -> list[Declaration]:
        words: list[str] = []
        value: tuple[int, int] | None = None
        while self._at < len(self._tokens):
            token = self._tokens[self._at]
            if token.text == "{" and _holds_declarations(words):
                self._add(token.end)
            elif token.text == "{" and _is_body(words):
                begin = token.begin
                self._add(self._skip(), Kind.FUNCTION, (begin, self._tokens[self._at - 1].end))
                words, value = [], None
                continue
            elif token.text in _CLOSES:
                begin = self._at
                self._skip()
                if token.text == "{" and value is None:
                    value = (token.end, self._tokens[self._at - 1].begin)
                words += [one.text for one in self._tokens[begin:self._at]]
                continue
            elif token.text == "=" and value is None and "operator" not in words:
                value = (token.end, 0)
                words.append("=")
                self._at += 1
                continue
            elif token.text == ";":
                self._add_simple(token, words, value)
            elif token.text == "}" or (token.directive and not words):
                self._add(token.end)
            elif token.text == ":" and len(words) == 1 and words[0] in _ACCESS:
                self._add(token.end)
            else:
                words.append(token.text)
                self._at += 1
                continue
            words, value = [], None
            self._at += 1
        self._add(len(self._text))
        return self.found

    def _add_simple(self, end: _Token, words: list[str], value: tuple[int, int] | None) -> None:
        if value is None or not words or _bare(words)[:1] in (["enum"], ["using"], ["concept"]):
            self._add(end.end)
        else:
            self._add(end.end, Kind.VALUE, (value[0], value[1] or end.begin))

    def _add(self, end: int, kind: Kind = Kind.OTHER, body: tuple[int, int] | None = None) -> None:
        begin, stop = body or (end, end)
        self.found.append(Declaration(kind, self._text[self._done:begin], self._text[begin:stop],
                                      self._text[stop:end]))
        self._done = end

    def _skip(self) -> int:
        """Goes behind what is closed that opens here; returns where that is in the text."""
        words = [token.text for token in self._tokens]
        opening = words[self._at]
        self._at = _past(words, self._at, opening, _CLOSES[opening])
        return self._tokens[self._at - 1].end


def read(text: str) -> list[Declaration]:
    """The declarations of a file. Their texts, one behind the other, are the file."""
    return _Reader(text).read()
