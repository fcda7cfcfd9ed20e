"""The tables that the tests of check_data share."""

import pandas as pd
from step_support import make_songs, with_text

NAME = "preprocessed_data.parquet"
REFERENCE = f"{NAME}:reference"


def songs(seed: int = 1, n_rows: int = 300) -> pd.DataFrame:
    """Return songs as `preprocess` leaves them."""
    return with_text(make_songs(n_rows, seed))
