"""Which rows of a raw table are taken, and of which partition each is."""

import logging

import pandas as pd

from util_lib import partitions
from util_lib.dataset.declaration import Data
from util_lib.errors import UserError

logger = logging.getLogger("preprocess")


def select(frame: pd.DataFrame, data: Data) -> pd.DataFrame:
    """Return the rows of the partitions that are taken by a column; all where there is none.

    Where the newest is the test, a column says of which partition each row is.
    """
    how = data.partition
    if how.by != "column":
        return frame
    in_file = {new: old for old, new in data.clean.rename.items()}
    column = in_file.get(str(how.column), str(how.column))
    if column not in frame or column in data.derived:
        raise UserError(f"partition.column: the raw table has no column {column!r}")
    values = frame[column]
    if n_missing := int(values.isna().sum()):
        raise UserError(
            f"partition.column: {column!r} must have a value in every row, {n_missing:,} of "
            f"{len(frame):,} rows have none"
        )
    is_date = pd.api.types.is_datetime64_any_dtype(values)
    names = values.dt.strftime("%G-W%V") if is_date else values.astype("str")
    wanted = partitions.taken(names.unique(), how)
    kept = names.isin(wanted)
    logger.info(
        "partitions %s to %s: %s of %s rows", wanted[0], wanted[-1], f"{kept.sum():,}", len(frame)
    )
    if data.test == partitions.NEWEST:
        frame = frame.assign(**{partitions.COLUMN: names})
    return frame[kept].reset_index(drop=True)


def at_the_end(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `frame` with the column that says the partition, if it has one, as the last one."""
    ours = [name for name in frame.columns if name == partitions.COLUMN]
    return frame[[name for name in frame.columns if name not in ours] + ours]


def refuse(data: Data) -> None:
    """Raise `UserError` where a large table, worked on in batches, would have to be parted."""
    if data.partition.by == "column" or data.test == partitions.NEWEST:
        raise UserError(
            f"partitions by column, and the newest one as test, need the whole table in memory, "
            f"and it has more than large_rows ({data.large_rows:,}) rows: raise data.large_rows, "
            "take a smaller partition.window of files, or split by time"
        )
