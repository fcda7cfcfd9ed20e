"""What a person sees while the steps run, and the table at the end.

The steps write to the same terminal as main.py, through processes that MLflow starts. Their
output is therefore led through a pipe: on a terminal it scrolls above one living line (which step
of how many, its time), in a pipe or a file it passes through as it is.
"""

import os
import queue
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from pipeline.planning.step import Outcome
from util_lib.model import metric_names
from util_lib.redaction import redacted

PIPE_WIDTH = 120  # columns of the table where there is no terminal to ask
KEPT_LINES = 200  # of each stream, to find a failed step's last words
SYNC = b"\0sync\n"  # ends what was written so far; no step writes a NUL
TRACEBACK, INTERRUPT = b"Traceback (most recent call last)", b"KeyboardInterrupt"
COLOURS = {
    "done": "green",
    "cached": "cyan",
    "failed": "red",
    "stopped": "yellow",
    "not run": "dim",
}


class Screen:
    """The terminal, pipe or file that main.py was started with."""

    def __init__(self) -> None:
        """Take over nothing yet; `relayed` does. `closing` are lines for below the table."""
        self.closing: list[str] = []
        self._out = sys.stdout
        self._console = Console(file=self._out, highlight=False)
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}  # the living lines: a step's by its name, "" another
        self._begun: set[str] = set()
        self._lines: dict[int, deque[str]] = {}
        self._writers: dict[int, int] = {}
        # No Event: an interrupt may leave its lock taken, and the next one waits for ever.
        self._synced: dict[int, queue.SimpleQueue[None]] = {}

    @property
    def is_terminal(self) -> bool:
        """Whether a person watches, so that a living line makes sense."""
        return self._console.is_terminal

    def say(self, text: str) -> None:
        """Print one line that stays."""
        text = redacted(text)
        if self.is_terminal:
            self._console.print(Text(text), soft_wrap=True)
        else:
            with self._unheard():
                print(text, file=self._out, flush=True)

    @contextmanager
    def _unheard(self) -> Iterator[None]:
        """Go on in silence where nobody reads any more (`... | head -1`)."""
        try:
            yield
        except BrokenPipeError:
            self._out = open(os.devnull, "w", encoding="utf-8")

    def now(self, text: str) -> None:
        """Show what is going on: the living line on a terminal, a line of its own elsewhere."""
        self._show_living("", text)

    def begin(self, step: str, label: str) -> None:
        """Show that a step runs; each one has a living line of its own."""
        if not self._begun:  # what earlier ones wrote is no longer anybody's last words
            for lines in self._lines.values():
                lines.clear()
        self._begun.add(step)
        self._remove_living("")
        self._show_living(step, label)

    def end(self, step: str) -> None:
        """Show all that a step has written, and no longer that it runs."""
        self.drain()
        self._begun.discard(step)
        self._remove_living(step)

    def _show_living(self, key: str, text: str) -> None:
        if self._progress is None:
            self.say(text)
            return
        self._remove_living(key)
        self._tasks[key] = self._progress.add_task(redacted(text), total=None)

    def _remove_living(self, key: str) -> None:
        if self._progress is not None and key in self._tasks:
            self._progress.remove_task(self._tasks.pop(key))

    @contextmanager
    def relayed(self) -> Iterator[None]:
        """Lead what this process and its children write through the screen, until the end."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        saved = {1: os.dup(1), 2: os.dup(2)}
        self._out = os.fdopen(os.dup(saved[1]), "w", encoding="utf-8", errors="replace")
        self._console = Console(file=self._out, highlight=False)
        threads = []
        for number in saved:
            reader, writer = os.pipe()
            os.dup2(writer, number)
            os.close(writer)
            self._lines[number] = deque(maxlen=KEPT_LINES)
            self._synced[number] = queue.SimpleQueue()
            thread = threading.Thread(
                target=self._relay, args=(reader, number, saved[number]), daemon=True
            )
            thread.start()
            threads.append(thread)
        try:
            if self.is_terminal:
                self._progress = Progress(
                    SpinnerColumn(),
                    TextColumn("{task.description}"),
                    TimeElapsedColumn(),
                    console=self._console,
                    transient=True,
                    redirect_stdout=False,
                    redirect_stderr=False,
                )
                self._progress.start()
            yield
        finally:
            self.drain()
            if self._progress is not None:
                self._progress.stop()
                self._progress = None
                self._tasks.clear()
            for number, original in saved.items():
                os.dup2(original, number)  # closes the pipe's end, which ends its thread
            for thread in threads:
                thread.join(timeout=2)  # a child that outlives us may hold the pipe open
            for original in saved.values():
                os.close(original)
            self._out = sys.stdout
            self._console = Console(file=self._out, highlight=False)

    def drain(self) -> None:
        """Wait until all that was written so far has been shown."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        for number in self._synced:
            synced: queue.SimpleQueue[None] = queue.SimpleQueue()
            self._synced[number] = synced
            os.write(number, SYNC)
            with suppress(queue.Empty):
                synced.get(timeout=10)

    def last_words(self, step: str) -> str:
        """Return the last line that a step wrote: to stderr, else to stdout; empty for none.

        Steps that run beside it are known by their labels: a line without one may be of any.
        """
        self.drain()
        others = tuple(f"{other}: " for other in self._begun - {step})
        for number in (2, 1):
            for line in reversed(self._lines.get(number, ())):
                if line.strip() and not line.startswith(others):
                    return line.strip()
        return ""

    def _relay(self, reader: int, number: int, original: int) -> None:
        original = os.dup(original)
        unheard = False
        with os.fdopen(reader, "rb") as stream:
            for raw in _without_interrupts(stream):
                before, marker, _ = raw.partition(SYNC)
                if before:
                    text = before.decode("utf-8", errors="surrogateescape")
                    shown = redacted(text)
                    if shown != text:
                        before = shown.encode("utf-8", errors="surrogateescape")
                    text = before.decode("utf-8", errors="replace").rstrip("\n")
                    self._lines[number].append(text)
                    if self.is_terminal:
                        self._console.print(Text.from_ansi(text))
                    elif not unheard:
                        unheard = not _write_all(original, before)
                if marker:
                    self._synced[number].put(None)
        os.close(original)

    def table(self, outcomes: list[Outcome]) -> None:
        """Print one row for each step: outcome, seconds, artifacts made, metrics.

        On a terminal too narrow for the rows they become lines, so that every name stays whole.
        Below stands what is to be minded of the scores.
        """
        table = Table(title_justify="left")
        table.add_column("step", no_wrap=True)
        table.add_column("outcome", no_wrap=True)
        table.add_column("seconds", justify="right", no_wrap=True)
        table.add_column("artifacts", overflow="fold")
        table.add_column("metrics", overflow="fold")
        for row in outcomes:
            table.add_row(
                row.step,
                Text(row.outcome, style=COLOURS[row.outcome]),
                "" if row.seconds is None else f"{row.seconds:.1f}",
                "\n".join(row.artifacts),
                "\n".join(metric_names.lines(row.metrics)),
            )
        unbounded = self._console.options.update(max_width=10_000)
        needed = self._console.measure(table, options=unbounded).maximum
        if not self.is_terminal or needed <= self._console.width:
            self.show(table)
        else:
            for row in outcomes:
                took = "" if row.seconds is None else f", {row.seconds:.1f} s"
                self.say(f"{row.step}: {row.outcome}{took}")
                for line in (*row.artifacts, *metric_names.lines(row.metrics)):
                    self.say(f"  {line}")
        measured = {name: value for row in outcomes for name, value in row.metrics.items()}
        for row in outcomes:
            for line in metric_names.said_of(row.metrics, "test", measured):
                self.say(f"{row.step}: {line}")

    def show(self, table: Table) -> None:
        """Print a table; no word breaks: in a pipe or a file it is as wide as that takes.

        On a terminal that is too narrow its rows become lines.
        """
        console = self._console
        unbounded = console.options.update(max_width=10_000)
        needed = console.measure(table, options=unbounded).minimum
        if not self.is_terminal:
            width = max(PIPE_WIDTH, needed)
            console = Console(file=self._out, width=width, highlight=False)
        elif needed > console.width:
            for line in _as_lines(table):
                self.say(line)
            return
        with self._unheard():
            console.print(table)
            self._out.flush()


def _as_lines(table: Table) -> Iterator[str]:
    """Give a line for each row, named by its first cell, and one below it for each other cell."""
    if table.title:
        yield str(table.title)
    for first, *others in zip(*(column.cells for column in table.columns), strict=True):
        yield str(first)
        for column, cell in zip(table.columns[1:], others, strict=True):
            if text := ", ".join(str(cell).split("\n")):
                yield f"  {str(column.header) + ': ' if column.header else ''}{text}"
    if table.caption:
        yield str(table.caption)


def _without_interrupts(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Give the lines without tracebacks that end in KeyboardInterrupt.

    Ctrl-C reaches a step too, perhaps while it imports its modules and cannot answer yet.
    """
    held: list[bytes] = []
    for line in lines:
        if line.startswith(TRACEBACK):
            yield from held
            held = [line]
        elif held and line.startswith(b" "):
            held.append(line)
        else:
            if line.rstrip() != INTERRUPT or not held:
                yield from held
                yield line
            held = []
    yield from held


def _write_all(descriptor: int, data: bytes) -> bool:
    """Write `data`; return False where nobody reads any more."""
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except BrokenPipeError:
        return False
    return True
