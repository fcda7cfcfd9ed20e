"""JSON that is counted while it is read: a request of too many rows or values ends there.

Python's own reader makes everything before anybody can count. Here a long text is read one element
after the other; a short element, such as a row, by Python's reader in C. What comes out is what
`json.loads` makes of the same text.
"""

import contextlib
import json
import re
from typing import Any

from serving.request_body.refusals import RequestError
from util_lib.tables import json_files

BLANKS = " \t\n\r"
AFTER = tuple(f"{BLANKS},]")  # what can follow an element of a list
BLANK = re.compile(f"[{BLANKS}]*")
ENDS = {"{": "},", "[": "],"}  # of an element, by how it begins
WINDOW = 200_000  # characters; an element that does not end within them is counted


def loads(text: str, max_rows: int, max_values: int) -> Any:
    """Return what `text` holds; `ValueError` if it is no JSON, `RequestError` if it is too much.

    No list may be longer than `max_rows` (or `max_values`: it may be a row), and no row and no
    object larger than `max_values`. NaN is None: MLflow's clients write it for a missing value.
    """
    if len(text) <= WINDOW:
        return json_files.loads(text)
    return _Reader(text, max_rows, max_values).whole()


class _Reader:
    def __init__(self, text: str, max_rows: int, max_values: int):
        self.text = text
        self.max_rows = max_rows
        self.max_values = max_values
        self.start, self.window = 0, text[:WINDOW]
        self.guess_at = 0  # where it is worth while to guess at the end of elements
        decoder: Any = json_files.DECODER
        self.scan = decoder.scan_once
        self.string = decoder.parse_string

    def whole(self) -> Any:
        content, at = self.value(self.blank(0))
        if (at := self.blank(at)) != len(self.text):
            raise json.JSONDecodeError("Extra data", self.text, at)
        return content

    def blank(self, at: int) -> int:
        if self.text[at : at + 1] not in BLANKS:
            return at
        return BLANK.match(self.text, at).end()  # type: ignore[union-attr] # it may be empty

    def value(self, at: int) -> tuple[Any, int]:
        mark = self.text[at : at + 1]
        if mark == "{":
            return self.mapping(at + 1)
        if mark == "[":
            return self.sequence(at + 1)
        try:
            return self.scan(self.text, at)
        except StopIteration as error:
            raise json.JSONDecodeError("Expecting value", self.text, error.value) from None

    def element(self, at: int) -> tuple[Any, int]:
        """Read an element of a list, in C if it ends within the window."""
        for _ in range(2):
            try:
                found, end = self.scan(self.window, at - self.start)
                if self.window[end : end + 1] in AFTER:  # else it may go on behind the window
                    return found, self.start + end
            except (StopIteration, ValueError):
                pass  # cut off by the window, or wrong: `value` knows
            if self.start == at:
                break
            self.start, self.window = at, self.text[at : at + WINDOW]
        return self.value(at)

    def mapping(self, at: int) -> tuple[dict[str, Any], int]:
        found: dict[str, Any] = {}
        at = self.blank(at)
        if self.text[at : at + 1] == "}":
            return found, at + 1
        while True:
            if self.text[at : at + 1] != '"':
                message = "Expecting property name enclosed in double quotes"
                raise json.JSONDecodeError(message, self.text, at)
            key, at = self.string(self.text, at + 1, True)
            at = self.blank(at)
            if self.text[at : at + 1] != ":":
                raise json.JSONDecodeError("Expecting ':' delimiter", self.text, at)
            if key in found:
                raise json_files.repeated(key)
            found[key], at = self.value(self.blank(at + 1))
            if len(found) > self.max_values:
                raise self.too_many()
            at, ended = self.next(at, "}")
            if ended:
                return found, at

    def sequence(self, at: int) -> tuple[list[Any], int]:
        found: list[Any] = []
        at = self.blank(at)
        if self.text[at : at + 1] == "]":
            return found, at + 1
        most = max(self.max_rows, self.max_values)
        while True:
            several, at = self.several(at)
            for element in several:
                if isinstance(element, dict | list) and len(element) > self.max_values:
                    raise self.too_many()
            found += several
            if len(found) > most:
                raise self.too_many()
            at, ended = self.next(at, "]")
            if ended:
                return found, at

    def several(self, at: int) -> tuple[list[Any], int]:
        """Read what looks like the elements of a list that end within the window; at least one.

        What reads as a list between brackets is a list: a wrong guess at an end does not read.
        """
        if at >= self.guess_at:
            self.guess_at = at + WINDOW
            self.start, self.window = at, self.text[at : at + WINDOW]
            end = self.window.rfind(ENDS.get(self.window[:1], ","))
            if end > 0:
                end += self.window[:1] in ENDS
                with contextlib.suppress(StopIteration, ValueError):
                    found, read = self.scan(f"[{self.window[:end]}]", 0)
                    if read == end + 2:
                        self.guess_at = at + end
                        return found, at + end
        element, at = self.element(at)
        return [element], at

    def next(self, at: int, end: str) -> tuple[int, bool]:
        """Go past a comma, or the end."""
        at = self.blank(at)
        mark = self.text[at : at + 1]
        if mark == end:
            return at + 1, True
        if mark != ",":
            raise json.JSONDecodeError("Expecting ',' delimiter", self.text, at)
        return self.blank(at + 1), False

    def too_many(self) -> RequestError:
        return RequestError(
            413,
            f"a request may have {self.max_rows:,} rows of {self.max_values:,} values: send more "
            "in several requests",
        )
