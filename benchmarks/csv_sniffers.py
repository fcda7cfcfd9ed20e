#!/usr/bin/env python
"""Compare describe's reading of odd CSV files with that of DuckDB's sniffer.

Needs DuckDB, which the project itself does not (docs/decisions.md says why). Prints, for each file
and both, whether names, rows and kinds of the columns are those that were meant.

    uv run --with duckdb==2.0.1 python benchmarks/csv_sniffers.py
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pandas as pd

from tools.describe import table_files
from util_lib.errors import UserError

N = 600
NUMBERS = [f"{(i * 37 % 100) / 10 - 3:.1f}" for i in range(N)]
WORDS = ["red" if i % 3 else "blue" for i in range(N)]  # DuckDB takes yes and no for booleans


def lines(head: str, *columns: list[str], separator: str = ",", end: str = "") -> str:
    """Write a table of texts."""
    rows = [separator.join(row) + end for row in zip(*columns, strict=True)]
    return "\n".join([head, *rows]) + "\n"


def with_one(value: str) -> list[str]:
    """Return numbers of which one is another text."""
    return [*NUMBERS[:500], value, *NUMBERS[501:]]


def commas(texts: list[str]) -> list[str]:
    """Return numbers with a decimal comma."""
    return [text.replace(".", ",") for text in texts]


DAYS = [f"{1 + i % 28:02}.{1 + i % 12:02}.2024" for i in range(N)]
PLAIN = lines("a,b", NUMBERS, WORDS)
QUOTED = [f'"the \\"old\\" one, {i % 3}"' for i in range(N)]
# name: content, kinds of the columns (n number, d date, t text), names
FILES: dict[str, tuple[str | bytes, str, str]] = {
    "plain": (PLAIN, "nt", "a b"),
    "decimal commas": (lines("a;b", commas(NUMBERS), WORDS, separator=";"), "nt", "a b"),
    "tabs": (lines("a\tb", NUMBERS, WORDS, separator="\t"), "nt", "a b"),
    "latin-1": (lines("größe,b", NUMBERS, WORDS).encode("latin-1"), "nt", "größe b"),
    "UTF-16": (PLAIN.encode("utf-16"), "nt", "a b"),
    "three lines of a report first": ("Report\nmade in 2024\n\n" + PLAIN, "nt", "a b"),
    "no header": (PLAIN.partition("\n")[2], "nt", ""),
    "header of words over words": (lines("land,b", WORDS, WORDS), "tt", "land b"),
    "a trailing comma in the rows": (lines("a,b", NUMBERS, WORDS, end=","), "nt", "a b"),
    "names of rows without a name": (
        lines("a,b", [f"r{i}" for i in range(N)], NUMBERS, WORDS), "tnt", "rownames a b"
    ),
    "a note below": (PLAIN + "\n* as of last year\n", "nt", "a b"),
    "comments between": (PLAIN.replace("\n", "\n# second\n", 3), "nt", "a b"),
    "backslashes before quotes": (lines("a,b", QUOTED, NUMBERS), "tn", "a b"),
    "single quotes": (lines("a,b", [f"'x, {i % 3}'" for i in range(N)], NUMBERS), "tn", "a b"),
    "comma and blank": (lines("a, b", NUMBERS, WORDS, separator=", "), "nt", "a b"),
    "NA among numbers": (lines("a,b", with_one("NA"), WORDS), "nt", "a b"),
    "n.a. once": (lines("a,b", with_one("n.a."), WORDS), "nt", "a b"),
    "a censored value once": (lines("a,b", with_one(">2000"), WORDS), "nt", "a b"),
    "a unit once": (lines("a,b", with_one("5 kg"), WORDS), "nt", "a b"),
    "per cent": (lines("a,b", [f"{text}%" for text in NUMBERS], WORDS), "nt", "a b"),
    "days first": (lines("a,b", DAYS, WORDS), "dt", "a b"),
    "names of months": (
        lines("a,b", [f"{1 + i % 28:02}-Jan-2024" for i in range(N)], WORDS), "dt", "a b"
    ),
    "codes with a late zero": (
        lines("a,b", [*(str(10 + i % 7) for i in range(N - 1)), "007"], WORDS), "tt", "a b"
    ),
    "codes such as 3E05": (lines("a,b", ["3E05", "1E10", "417"] * 200, WORDS), "tt", "a b"),
    "19 digits": (lines("a,b", [str(2**60 + i) for i in range(N)], WORDS), "nt", "a b"),
}  # fmt: skip


def kind(dtype: Any) -> str:
    """Return n, d or t for a type of pandas."""
    if pd.api.types.is_datetime64_any_dtype(dtype):
        return "d"
    return "n" if pd.api.types.is_numeric_dtype(dtype) else "t"


def ours(path: Path) -> pd.DataFrame:
    """Return the table as describe reads it."""
    return table_files.read(path).frame


def duckdbs(path: Path) -> pd.DataFrame:
    """Return the table as DuckDB reads it, having looked at every row."""
    import duckdb

    return duckdb.sql(f"from read_csv('{path}', sample_size=-1)").df()


def verdict(read: Any, path: Path, kinds: str, names: str) -> str:
    """Say what is right of a table: rows, names, kinds, or nothing for it is refused."""
    try:
        frame = read(path)
    except UserError:
        return "refused"
    except Exception as error:
        return f"refused ({type(error).__name__})"
    wrong = [
        word
        for word, right in (
            ("rows", len(frame) == N),
            ("names", not names or list(frame.columns) == names.split()),
            ("kinds", "".join(kind(dtype) for dtype in frame.dtypes) == kinds),
        )
        if not right
    ]
    return f"wrong {', '.join(wrong)}" if wrong else "right"


def main() -> None:
    """Print one line for each file, and how many each has right."""
    right = {"describe": 0, "DuckDB": 0}
    with tempfile.TemporaryDirectory() as folder:
        for name, (content, kinds, names) in FILES.items():
            path = Path(folder, "table.csv")
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
            said = {}
            for who, read in (("describe", ours), ("DuckDB", duckdbs)):
                said[who] = verdict(read, path, kinds, names)
                right[who] += said[who] == "right"
            print(f"{name:32} describe: {said['describe']:26} DuckDB: {said['DuckDB']}")
    print(f"right of {len(FILES)}: describe {right['describe']}, DuckDB {right['DuckDB']}")


if __name__ == "__main__":
    main()
