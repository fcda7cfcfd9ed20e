"""Reads the files of a folder as one table: one after the other, the same columns in each."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from util_lib import partitions, validation
from util_lib.errors import UserError


def chosen(
    files: list[Path], read: Callable[[Path], Iterator[Any]], only: range | None
) -> Iterator[tuple[Path, Iterator[Any]]]:
    """Yield the files at some places and their pieces, before them the first file's columns."""
    if only and 0 not in only:
        yield files[0], islice(read(files[0]), 1)
    for file in files if only is None else files[only.start : only.stop]:
        yield file, read(file)


def joined(
    parts: Iterable[tuple[Path, Iterator[Any]]], partition: str | None = None
) -> Iterator[Any]:
    """Yield the pieces of all files, `reading.Piece`, their rows numbered through.

    The columns come in the order of the first file. `UserError` where a file has others. With
    `partition` a column of that name says of which partition the file is.
    """
    n_before, first = 0, None
    for file, pieces in parts:
        header = next(pieces)
        if first is None:
            first, shown = file, header
            yield _with_partition(header, file, partition)
        else:
            _check_alike(first, shown, file, header)
        n_rows = 0
        for piece in pieces:
            last = [*piece.numbers[-1:], *(number for number, _ in piece.unread)]
            n_rows = max([n_rows, *(number + 1 for number in last)])
            ordered = {n: piece.columns[n] for n in shown.columns if n in piece.columns}
            piece = piece._replace(
                columns=ordered or piece.columns,
                numbers=[number + n_before for number in piece.numbers],
                unread=[(number + n_before, why) for number, why in piece.unread],
            )
            yield _with_partition(piece, file, partition)
        n_before += n_rows


def _with_partition(piece: Any, file: Path, column: str | None) -> Any:
    """Return a piece with one more column, in which each row says of which partition it is."""
    if column is None:
        return piece
    if column in piece.columns:
        raise UserError(f"{file.name} has a column {column!r} already: give it another name")
    import pyarrow as pa

    name = partitions.of_file(file.name)
    values = pa.array([name] * len(piece.numbers), pa.string())
    return piece._replace(columns={**piece.columns, column: values})


def _check_alike(first: Path, shown: Any, file: Path, other: Any) -> None:
    if other.written != shown.written or bool(other.columns) != bool(shown.columns):
        raise UserError(
            f"{file.name} is in another format than {first.name}: the files of one table are all "
            "written in the same way"
        )
    ours, theirs = shown.columns, other.columns
    for lacks, has, here, there in ((file, first, theirs, ours), (first, file, ours, theirs)):
        if lacking := [name for name in there if name not in here]:
            near = validation.nearest(lacking[0], [name for name in here if name not in there])
            raise UserError(
                f"{lacks.name} has no column {lacking[0]!r}, which {has.name} has"
                + (f", it has {near!r}" if near else "")
                + ": the files of one table have the same columns"
            )
    for name in ours:
        kinds = _kind(ours[name]), _kind(theirs[name])
        if None not in kinds and kinds[0] != kinds[1]:
            raise UserError(
                f"column {name!r} holds a {kinds[1]} in {file.name} and a {kinds[0]} in "
                f"{first.name}: the files of one table have the same columns"
            )


def _kind(values: Any) -> str | None:
    """Return of what kind an Arrow column is; None where any other may follow."""
    import pyarrow as pa

    if not isinstance(values, pa.Array) or pa.types.is_null(values.type):
        return None
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "number"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return "text"
    return "date" if pa.types.is_temporal(kind) else str(kind)
