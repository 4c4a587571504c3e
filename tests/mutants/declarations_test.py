"""Tests that a file's declarations are told apart as joint.py needs it: bodies, initialisers and the rest."""

import sys
import unittest
from pathlib import Path

from tests.mutants import declarations
from tests.mutants.declarations import Kind

SOURCES = sys.argv[1:]
del sys.argv[1:]


class DeclarationsTest(unittest.TestCase):
    def bodies(self, text: str, kind: Kind = Kind.FUNCTION) -> list[str]:
        """The bodies of all declarations of a kind."""
        found = declarations.read(text)
        self.assertEqual("".join(one.text for one in found), text)
        return [one.body for one in found if one.kind == kind]

    def assert_body(self, head: str, body: str = "{ return; }"):
        self.assertEqual(self.bodies(f"int before;\n{head} {body}\nint behind;\n"), [body])

    def test_every_source_is_its_declarations(self):
        self.assertGreater(len(SOURCES), 50)
        for path in SOURCES:
            text = Path(path).read_text()
            with self.subTest(path):
                self.assertTrue(self.bodies(text) or "{" not in text or path.endswith(".h"))

    def test_functions(self):
        for head in ("void f()", "template <class T = int>\n[[nodiscard]] bool f(T x = {}) const noexcept",
                     "bool operator==(const X& other) const", "auto f(int x) -> std::array<int, 3>",
                     "X(int a) : a_(a), b_{a}", "X() : a_{1}", "~X()", "void f() override",
                     "void f(struct X x)", "alignas(8) int f()", "explicit operator bool() const"):
            with self.subTest(head):
                self.assert_body(head)

    def test_a_body_ends_where_its_brace_is_closed(self):
        for inside in ('"}"', "'}'", "'\\''", "/* } */", "// }\n", 'R"(})"', "0x1'000", "[]{ return 1; }()", '"\\"}"'):
            with self.subTest(inside):
                self.assert_body("void f()", f"{{ g({inside}\n); }}")

    def test_what_holds_declarations_is_no_body(self):
        for head in ("namespace a::b {", "namespace {", "struct alignas(64) X : Y {", "template <class T>\nclass X {",
                     'extern "C" {', "union U {"):
            with self.subTest(head):
                text = f"{head}\nvoid f() {{ x; }}\nprivate:\nvoid g() {{}}\n}};\n"
                self.assertEqual(self.bodies(text), ["{ x; }", "{}"])

    def test_values(self):
        for text, value in (("bool late{false};", "false"), ("int x = 1 + f(2);", " 1 + f(2)"),
                            ("auto f = [](int x) { return x; };", " [](int x) { return x; }"),
                            ("std::function<void(int)> f{g};", "g"), ("alignas(8) int x{3};", "3")):
            with self.subTest(text):
                self.assertEqual(self.bodies(f"struct X {{\n{text}\n}};\n", Kind.VALUE), [value])

    def test_neither(self):
        for text in ("enum class E { a = 1, b };", "using A = B;", "#define X(y) { y",
                     "X& operator=(const X&) = delete;", "void f(int x = 1);",
                     "template <class T>\nconcept C = requires(T t) { t.x(); };"):
            with self.subTest(text):
                self.assertEqual(self.bodies(f"{text}\n") + self.bodies(f"{text}\n", Kind.VALUE), [])

    def test_versions_of_one_declaration_have_one_key(self):
        def key(text: str) -> tuple[str, ...]:
            return declarations.read(text)[0].key

        self.assertEqual(key("// One.\nvoid f(int x) { a; }"), key("void  f(int x) { b; }"))
        self.assertEqual(key("int x{1};"), key("int x{2};"))
        for other in ("void f(int) { a; }", "int f(int x) { a; }", "void f(int x);"):
            self.assertNotEqual(key("void f(int x) { a; }"), key(other))


if __name__ == "__main__":
    unittest.main()
