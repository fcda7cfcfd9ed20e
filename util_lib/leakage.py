"""Columns that give the target away, rows in its order, rows that would be in both splits."""

import pandas as pd

from util_lib.dataset import Data
from util_lib.findings import Finding


def find(sample: pd.DataFrame, data: Data) -> list[Finding]:
    """Return what was found, the whole table first, then in the order of the columns."""
    return []
