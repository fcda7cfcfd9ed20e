"""An expression holds what its language has and nothing else, however hostile the text."""

import ast
import re
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from step_support import ROOT

from util_lib.dataset import expressions
from util_lib.errors import UserError
from util_lib.tables import cleaning

TABLE = pd.DataFrame(
    {
        "a": [1, 2, 3],
        "b": [1.5, None, -2.0],
        "c": ["x", None, "z"],
        "d": pd.to_datetime(["2020-01-01", None, "2021-01-01"]),
        "t": [True, False, True],
        "floor area": np.array([200, 255, 0], dtype=np.uint8),
    }
)
REACHING_OUT = [
    "'`' + @pd.io.common.os.popen('touch {file}').read() + '`'",
    '"`" + @pd.io.common.os.popen("touch {file}").read() + "`"',
    "`a` + @a",
    "__import__('os').system('touch {file}')",
    "a.__class__.__base__.__subclasses__()",
    "[x for x in ().__class__.__bases__]",
    'f\'{{open("{file}", "w")}}\'',
    "(lambda: open('{file}', 'w'))()",
    "abs.__globals__",
    "isnull(open('{file}', 'w'))",
    "open('{file}', 'w')",
    "a if open('{file}', 'w') else a",
    "(a := open('{file}', 'w'))",
    "abs(*[open('{file}', 'w')])",
    "abs(a, key=open('{file}', 'w'))",
    "a @ a",
    "a[0]",
    "{{1: 2}}",
    "...",
    "1j * a",
]
TOO_MUCH = [
    "9**9**9**9",
    "9**(1 + 9**9)",
    "a ** 101",
    "a ** -101",
    "-" * 20_000 + "1",
    "-" * 1_990 + "1",
    "-" * 101 + "1",
    "(" * 900 + "1" + ")" * 900,
    "a" + " + a" * 300,
    "a" * 3_000,
    "1" * 1_999,
    "9223372036854775808",
    "1e999",
    "a in [" + "1, " * 600 + "]",
]


@pytest.mark.parametrize("text", REACHING_OUT)
def test_what_reaches_out_of_the_table_is_refused_and_not_run(text, tmp_path):
    file = tmp_path / "touched"
    written = text.format(file=file)
    with pytest.raises(ValueError, match="derived.x: .* (is no expression|only columns, numbers)"):
        expressions.columns_of(written, "derived.x")
    with pytest.raises(ValueError):
        cleaning.derive(TABLE, "x", written, {})
    assert not file.exists()


@pytest.mark.parametrize("text", TOO_MUCH)
def test_what_would_take_the_machine_is_refused_in_a_short_sentence(text):
    with pytest.raises(ValueError) as refused:
        expressions.columns_of(text, "derived.x")
    assert len(str(refused.value)) < 400 or "holds" in str(refused.value)
    assert re.search("too large|at most|lie below|no expression", str(refused.value))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a in [1] in [True]", "in is followed by a list of values, and stands alone"),
        ("a in []", "in is followed by a list of values, and stands alone"),
        ("a in c", "columns, numbers"),
        ("a is [1]", "columns, numbers"),
        ("round(a, -c)", "the places to round to are a whole number"),
        ("round(a, 2.0)", "the places to round to are a whole number"),
        ("round(a, 16)", "the places to round to are a whole number"),
        ("round(a, -16)", "the places to round to are a whole number"),
    ],
)
def test_comparisons_and_places_of_another_shape_are_refused(text, said):
    with pytest.raises(ValueError, match=said):
        expressions.columns_of(text, "new")


@pytest.mark.parametrize(
    "text", ["a ** 100", "a ** -100", "round(a, 15)", "round(a, -15)", "a < 1e20", "a < 2.0**63"]
)
def test_what_lies_on_a_limit_is_allowed(text):
    assert expressions.columns_of(text, "new") == ["a"]
    whole = f"a{'b':>{expressions.MOST_CHARACTERS - 1}}".replace(" ", "+", 1)
    assert expressions.columns_of(whole, "new") == ["a", "b"]


def test_all_expressions_of_a_declaration_are_looked_at_and_the_wrong_one_named():
    right = {"one": "a + 1", "two": "one * 2"}
    assert expressions.check_all(right) == right
    with pytest.raises(ValueError, match="^three: 'a @ a' holds"):
        expressions.check_all({**right, "three": "a @ a"})


# Pieces of the language, of Python and of pandas' reading of it, put together at random.
PIECES = [
    *("a", "b", "c", "d", "t", "`floor area`", "`no such`", "A", "_0", "__class__", "µ"),
    *(
        "1",
        "2.5",
        "-3",
        "1e300",
        "9" * 18,
        "0",
        "True",
        "None",
        "'x'",
        '"`"',
        "'&'",
        "'2020-02-02'",
    ),
    *("+", "-", "*", "/", "//", "%", "**", "==", "!=", "<", ">=", "<<", "^", "@", "&", "|", "~"),
    *(" and ", " or ", " not ", " in ", " not in ", " is ", " if ", " else ", " for ", "lambda "),
    *("(", ")", "[", "]", "{", "}", ",", ".", ":", ":=", "=", "`", "'", '"', "#", "\\", "\n", ";"),
    *("isnull(", "round(", "log(", "open(", "eval(", "abs", "pd", "os", "0x", "f'", "b'"),
]
watched: list[str] | None = None


def _watch(event: str, arguments: tuple) -> None:
    if watched is not None and event.partition(".")[0] in (
        *("exec", "open", "os", "subprocess", "socket", "shutil", "ctypes", "import"),
    ):
        watched.append(event)


sys.addaudithook(_watch)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join) | st.text(max_size=40))
def test_any_text_is_computed_row_by_row_or_refused_and_touches_nothing(text):
    global watched
    watched = []
    try:
        result = cleaning.derive(TABLE, "x", text, {})
        expected = len(TABLE)
        assert len(result) == expected
        parts = [cleaning.derive(TABLE.iloc[[row]], "x", text, {}) for row in range(expected)]
        together = result.astype(object).where(result.notna(), None).tolist()
        alone = [part.astype(object).where(part.notna(), None).tolist()[0] for part in parts]
        assert together == alone
    except (ValueError, UserError) as refused:
        assert str(refused)
    finally:
        seen, watched = watched, None
    assert seen == []


@pytest.mark.parametrize("kind", ["eval", "exec"])
def test_no_text_is_run_as_code_anywhere(kind):
    rooms = [path for path in ROOT.iterdir() if path.is_dir() and path.name[0] not in "._"]
    files = [*ROOT.glob("*.py"), *(f for r in rooms if r.name != "tests" for f in r.rglob("*.py"))]
    assert len(files) > 100
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = getattr(node.func, "id", getattr(node.func, "attr", None))
                # DataFrame.query reads its text as DataFrame.eval does
                assert called not in (kind, "query"), f"{path}:{node.lineno} calls {called}"
