"""The operators of mutants of Python source: which changes each makes, and where it makes none."""

from __future__ import annotations

import ast
from textwrap import dedent

import pytest

from gateproof.proof.mutation.code import edits_of, same_bytecode

GUARDED = "try:\n    send(a)\nexcept Exception:\n    pass"
CASES = [
    ("negated-condition", "if ready(a) and b: c()", [("ready(a) and b", "not (ready(a) and b)")]),
    ("negated-condition", "x = [a for a in b if a.c]", [("a.c", "not (a.c)")]),
    ("negated-condition", "while (0 < a < b): c()", [("0 < a < b", "not (0 < a < b)")]),
    ("comparison", "x = a == b", [("==", "!=")]),
    ("comparison", "x = (a  # is\n  is  not\n b)", [("is  not", "is")]),
    ("comparison", "x = a not in b", [("not in", "in")]),
    ("comparison", "x = (a) < (b)", [("<", ">=")]),
    ("boundary", "x = a <= b < c", [("<=", "<"), ("<", "<=")]),
    ("boundary", "x = a > b or c >= d", [(">", ">="), (">=", ">")]),
    ("connector", "x = a and b and (c or d)", [("and", "or"), ("and", "or"), ("or", "and")]),
    ("removed-not", "x = not (a)", [("not (a)", "(a)")]),
    ("removed-sign", "x = -a", [("-a", "a")]),
    ("number", "wait(30)", [("30", "29"), ("30", "31")]),
    ("number", "x[0]", [("0", "-1"), ("0", "1")]),
    ("number", "x = 0.5", [("0.5", "-0.5"), ("0.5", "1.5")]),
    ("boolean", "f(True, False)", [("True", "False"), ("False", "True")]),
    ("string", "x = 'a'\ny = rb'b'", [("'a'", "'XXa'"), ("rb'b'", "rb'XXb'")]),
    ("string", 'x = ("a" "b")', [('"a"', '"XXa"')]),
    ("string", "x = f'{a}-{b!r}'", [("f'{a}-{b!r}'", "f'XX{a}-{b!r}'")]),
    ("default", "def f(a=3, *, b=True): ...", [("3", "2"), ("3", "4"), ("True", "False")]),
    ("default", "def f(a='x'): ...", [("'x'", "'XXx'")]),
    ("removed-statement", "a.b = c", [("a.b = c", "pass")]),
    ("removed-statement", "a[0] = b.c = d", [("a[0] = b.c = d", "pass")]),
    ("removed-statement", "a += 1; del a", [("a += 1", "pass"), ("del a", "pass")]),
    ("removed-statement", "if a: raise B(c)", [("raise B(c)", "pass")]),
    ("removed-statement", "if a: send(\n    b)", [("send(\n    b)", "pass")]),
    ("removed-statement", "async def f(): await a()", [("await a()", "pass")]),
    ("removed-statement", "for a in b: break", [("break", "pass")]),
    ("continue-break", "for a in b: continue", [("continue", "break")]),
    ("return-value", "def f(): return a.b", [("a.b", "None")]),
    ("return-value", "def f() -> bool: return a(b)", [("a(b)", "False"), ("a(b)", "True")]),
    ("removed-decorator", "@a\n@b(1)  # c\nclass D: ...", [("@a\n", ""), ("@b(1)  # c\n", "")]),
    ("removed-decorator", "class A:\n  @b\n  def c(self): ...", [("@b\n  ", "")]),
    ("swallowed-exception", "send(a)", [("send(a)", GUARDED)]),
    ("uncaught-exception", "try: ...\nexcept (A, B) as c: ...", [("(A, B)", "()")]),
    ("arithmetic", "x = a + b * c", [("+", "-"), ("*", "/")]),
    ("arithmetic", "a -= b", [("-=", "+=")]),
    ("removed-operand", "x = a | (b)", [("a | (b)", "(b)"), ("a | (b)", "a")]),
    ("removed-operand", "x = a + [b]", [("a + [b]", "[b]"), ("a + [b]", "a")]),
    ("removed-keyword", "f(a, b=1, **c)", [("b=1, ", ""), (", **c", "")]),
    ("removed-keyword", "f(\n    a=(1),\n)", [("a=(1),", "")]),
    ("sql-where", "x = 'SELECT a FROM b WHERE c = 1'", [("c = 1", "true")]),
]


def made(text: str, operator: str) -> list[tuple[str, str]]:
    """Return the replaced parts and replacements of an operator, in order."""
    return [(e.before(text), e.after) for e in edits_of(text) if e.operator == operator]


@pytest.mark.parametrize(("operator", "text", "expected"), CASES)
def test_operator_makes_exactly_these_changes(
    operator: str, text: str, expected: list[tuple[str, str]]
) -> None:
    """Each operator has an example, with all changes that it makes there."""
    assert made(text, operator) == expected


@pytest.mark.parametrize(("operator", "text", "expected"), CASES)
def test_mutants_parse_and_are_not_equivalent(
    operator: str, text: str, expected: list[tuple[str, str]]
) -> None:
    """Each mutant of an example is Python, and compiles to other code than the example."""
    edits = [edit for edit in edits_of(text) if edit.operator == operator]
    assert len(edits) == len(expected)
    for edit in edits:
        ast.parse(edit.apply(text))
        assert not same_bytecode(text, edit.apply(text))


def test_handlers_are_swallowed_in_each_way() -> None:
    """A handler's body or its ``raise`` is emptied, and a call drops its exceptions."""
    text = dedent("""\
        try:
            a()
        except B:
            c.d = 1
            raise
        """)
    assert made(text, "swallowed-exception") == [
        ("a()", "try:\n        a()\n    except Exception:\n        pass"),
        ("c.d = 1\n    raise", "pass"),
        ("raise", "pass"),
    ]


def test_statement_that_shares_its_line_is_not_wrapped() -> None:
    """A statement after another one, or after a colon, cannot be moved into ``try``."""
    assert made("a(); b()", "swallowed-exception") == []
    assert made("if a: b()", "swallowed-exception") == []


@pytest.mark.parametrize(
    "text",
    [
        '"""A docstring."""',
        'class A:\n    B: int\n    """An attribute."""',
        "import a",
        '__all__ = ["a"]',
        "Kept = Written | Spooled | None",
        "Names: TypeAlias = 'dict[str, int]'",
        "Names = dict[str, 'Name']",
        "a = cast('A | B', b)",
        "T = TypeVar('T')",
        "def f(a: 'A | B', *b: Literal['c']) -> 'D': ...",
        "a: Literal['b']",
        "if TYPE_CHECKING:\n    a = 1",
        "log.debug('a text')",
        "raise NotImplementedError",
        "def f():\n    yield",
        "def f():\n    return None",
        "@overload\ndef f(): ...",
        "a = ''",
    ],
)
def test_parts_without_behaviour_have_no_mutants(text: str) -> None:
    """Parts that only a person or a type checker reads are left out."""
    assert edits_of(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "raise A('a message', f'another {b}')",
        "log.info('a text')",
        "self._logger.info('a text')",
        "assert a, 'a message'",
        "option(help='a text', metavar='A')",
        "Counter(NAME, 'a text')",
    ],
)
def test_wording_has_no_mutants(text: str) -> None:
    """Texts for a person are no constants whose change is a defect."""
    assert made(text, "string") == []


def test_guards_of_a_dataclass_have_no_mutants() -> None:
    """No input of a program shows that a class refuses assignments; its order is shown."""
    text = "@dataclass(frozen=True, kw_only=True, order=True)\nclass A: ..."
    assert made(text, "removed-keyword") == [(", order=True", "")]
    assert made(text, "boolean") == [("True", "False")]


def test_other_levels_of_a_log_have_mutants() -> None:
    """A text at level warning or above is what an alert matches."""
    assert made("log.error('not written')", "string") == [("'not written'", "'XXnot written'")]


def test_values_next_to_wording_have_mutants() -> None:
    """A status in an exception, and a condition of an assertion, are behaviour."""
    assert made("raise A(401, 'text')", "number") == [("401", "400"), ("401", "402")]
    assert made("assert a == b, 'text'", "comparison") == [("==", "!=")]


def test_edit_names_its_function_line_and_column() -> None:
    """An edit is found by qualified name, line and column, in characters."""
    text = dedent("""\
        TOP = 1
        class Health:
            LIMIT = 2
            @timed(3)
            def ask(self, a=4):
                def inner():
                    return "ä" + 5
        """)
    places = {
        edit.before(text): (edit.function, edit.line, edit.column)
        for edit in edits_of(text)
        if edit.operator in ("number", "default")
    }
    assert places == {
        "1": ("", 1, 6),
        "2": ("", 3, 12),
        "3": ("Health.ask", 4, 11),
        "4": ("Health.ask", 5, 20),
        "5": ("Health.ask.inner", 7, 25),
    }


def test_two_operators_make_a_change_once() -> None:
    """A returned constant has one mutant for each value, of the operator at the outer node."""
    text = "def f() -> bool:\n    return True"
    assert [(e.operator, e.after) for e in edits_of(text)] == [("return-value", "False")]


def test_lines_may_end_in_any_way() -> None:
    """Offsets are right after carriage returns, and in a text without a last line end."""
    for end in ("\n", "\r\n", "\r"):
        text = f"a = 'ä'{end}{end}b = c < d"
        [edit] = [edit for edit in edits_of(text) if edit.operator == "boundary"]
        assert edit.apply(text) == f"a = 'ä'{end}{end}b = c <= d"
        assert edit.line == 3
