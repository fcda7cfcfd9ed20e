"""Tables as they go wrong, and as they may differ without being wrong.

Each is a change of one half of the demo songs; the other half is the reference. `python -m
tests.check_data.corruptions` sends all of them through get_data, preprocess and check_data and
prints a Markdown table of what was caught, by which step, in which words: docs/corruptions.md.
"""

import gzip
import html
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from check_data import run as check_data
from dataset import make_songs_demo
from get_data import run as get_data
from preprocess import run as preprocess
from util_lib.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
SONGS = ROOT / "dataset" / "songs_demo.parquet"
DATASET = "conf/dataset/songs_demo.yaml"
TABLE = "preprocessed_data.parquet"
ALPHA = "0.05"
LONGEST = 200  # letters of a sentence in the table

INTRODUCTION = """# What the gate catches
Half of the demo songs are the reference; the other half is changed in one way at a time and sent
through `get_data`, `preprocess` and `check_data`. **{count}**

What no check of single columns can see: labels or values that belong to other rows; wrong letters
in free text; a change below the thresholds for drift ([how to set them](data_gate.md)). The
refusal of a good table is chance: each fresh draw of rows raises a false alarm with a probability
of `ks_alpha`, here 0.05.

This page is what the following prints; longer sentences are cut:

    python -m tests.check_data.corruptions"""

Change = Callable[[pd.DataFrame], "pd.DataFrame | File"]


class File(NamedTuple):
    """A file that is not the usual parquet."""

    name: str
    content: bytes


class Outcome(NamedTuple):
    """Which step stopped, and what it said; no step and no words where all went well."""

    step: str | None = None
    says: str = ""


def csv(frame: pd.DataFrame, **options: object) -> File:
    """Return a table as a CSV file."""
    return File("songs.csv", frame.to_csv(index=False, **options).encode())


def put(column: str, value: object, rows: int | float | list = 3) -> Change:
    """Return a change of some rows of a column: their number, their share, or which."""

    def change(frame: pd.DataFrame) -> pd.DataFrame:
        n = round(rows * len(frame)) if isinstance(rows, float) else rows
        at = n if isinstance(n, list) else list(range(7, 7 + n))
        values = frame[column].astype(object)
        values.iloc[at] = value
        return frame.assign(**{column: values.infer_objects()})

    return change


def to(column: str, make: Callable[[pd.Series], object]) -> Change:
    """Return a change of a whole column."""
    return lambda frame: frame.assign(**{column: make(frame[column])})


def swapped(one: str, other: str) -> Change:
    """Return a change that gives two columns each other's values."""
    return lambda frame: frame.assign(**{one: frame[other], other: frame[one]})


def some(frame: pd.DataFrame, seed: int, n: int | None = None, again: bool = False) -> pd.DataFrame:
    """Return rows drawn at random."""
    return frame.sample(n or len(frame), replace=again, random_state=seed)


def made(seed: int) -> Change:
    """Return a change that replaces all by other made songs of the same kind."""
    return lambda frame: make_songs_demo.make_table(len(frame), seed).to_pandas()[list(frame)]


def parquet(frame: pd.DataFrame, **options: object) -> File:
    """Return a table as a parquet file written in another way."""
    return File("songs.parquet", frame.to_parquet(**options))


def lines(frame: pd.DataFrame, change: Callable[[list[str]], list[str]]) -> File:
    """Return a CSV file whose lines were changed."""
    text = frame.to_csv(index=False).splitlines()
    return File("songs.csv", ("\n".join(change(text)) + "\n").encode())


def shuffled(values: pd.Series) -> np.ndarray:
    """Return the values in another order."""
    return values.sample(frac=1, random_state=5).to_numpy()


CORRUPTIONS: dict[str, dict[str, Change]] = {
    "Values": {
        "three tempos of 9999": put("tempo", 9999.0),
        "one tempo of 0": put("tempo", 0.0, 1),
        "energy in per cent": to("energy", lambda v: v * 100),
        "duration in seconds": to("duration_ms", lambda v: v // 1000),
        "duration in minutes, negative": to("duration_ms", lambda v: -(v // 60_000)),
        "a key of 12": put("key", 12, 1),
        "keys counted from 1": to("key", lambda v: v + 1),
        "-1 for an unknown key": put("key", -1, 0.02),
        "-999 for an unknown loudness": put("loudness", -999.0, 0.02),
        "loudness without its sign": to("loudness", lambda v: -v),
        "loudness as a ratio, 0 to 1": to("loudness", lambda v: 10 ** (v / 20)),
        "one infinite loudness": put("loudness", np.inf, 1),
        "a speechiness of 1e308": put("speechiness", 1e308, 1),
        "tempo halved": to("tempo", lambda v: v / 2),
        "energy higher by 0.05": to("energy", lambda v: (v + 0.05).clip(0, 1)),
        "valence is 0.5 in every row": to("valence", lambda v: 0.5),
        "liveness is noise": to(
            "liveness", lambda v: np.random.default_rng(1).uniform(0, 1, len(v))
        ),
    },
    "Missing values": {
        "one energy is missing": put("energy", None, 1),
        "energy is missing everywhere": to("energy", lambda v: np.nan),
        "loudness is missing everywhere": to("loudness", lambda v: np.nan),
        "loudness is missing in half of the rows": put("loudness", None, 0.5),
        "missing loudness filled with its mean": to("loudness", lambda v: v.fillna(v.mean())),
        "missing loudness filled with 0": to("loudness", lambda v: v.fillna(0.0)),
        "one genre is missing": put("genre", None, 1),
        "empty genres": put("genre", "", 5),
        "'unknown' among the loudness": lambda f: csv(put("loudness", "unknown", 2)(f)),
    },
    "Types": {
        "energy as text": to("energy", lambda v: v.astype(str)),
        "energy with decimal commas": to("energy", lambda v: v.astype(str).str.replace(".", ",")),
        "a word among the tempos": lambda f: csv(put("tempo", "fast", 1)(f)),
        "#DIV/0! from a spreadsheet": lambda f: csv(put("tempo", "#DIV/0!", 2)(f)),
        "durations such as 1,234": to("duration_ms", lambda v: v.map("{:,}".format)),
        "a key of 3.5": put("key", 3.5, 1),
        "mode as true and false": to("mode", lambda v: v == 1),
        "genres as numbers": to("genre", lambda v: pd.factorize(v)[0]),
        "dates for tempos": to(
            "tempo", lambda v: pd.Timestamp("2024-01-31") + pd.to_timedelta(v, unit="D")
        ),
        "titles as numbers": to("title", lambda v: pd.factorize(v)[0].astype(float)),
        "a list in each cell": to("valence", lambda v: v.map(lambda one: [one])),
        "a record in each cell": to("valence", lambda v: v.map(lambda one: {"v": one})),
    },
    "Text and encodings": {
        "genres in lower case": to("genre", lambda v: v.str.lower()),
        "a blank after some genres": put("genre", "Pop ", 4),
        "a genre in Cyrillic letters": put("genre", "\u0420\u043e\u0440", 4),
        "a genre with an invisible character": put("genre", "Po\u200bp", 4),
        "CSV in UTF-16": lambda f: File("songs.csv", f.to_csv(index=False).encode("utf-16")),
        "CSV in Latin-1": lambda f: File(
            "songs.csv", put("song_name", "Caf\u00e9")(f).to_csv(index=False).encode("latin-1")
        ),
        "song names decoded wrongly, such as Caf\u00c3\u00a9": put(
            "song_name", "Caf\u00c3\u00a9", 30
        ),
        "song names with HTML entities": to(
            "song_name", lambda v: v.map(lambda t: html.escape(f'"{t}"'), na_action="ignore")
        ),
        "song names cut to 5 letters": to("song_name", lambda v: v.str[:5]),
    },
    "Columns": {
        "a column is missing": lambda f: f.drop(columns="tempo"),
        "the target is missing": lambda f: f.drop(columns="genre"),
        "a column has another name": lambda f: f.rename(columns={"tempo": "bpm"}),
        "names in capitals": lambda f: f.rename(columns=str.upper),
        "a blank before the names": lambda f: csv(f.rename(columns=" {}".format)),
        "energy and valence are swapped": swapped("energy", "valence"),
        "danceability and liveness are swapped": swapped("danceability", "liveness"),
        "title and song_name are swapped": swapped("title", "song_name"),
        "all numbers one column to the right": lambda f: f.assign(
            **dict(
                zip(
                    ["danceability", "energy", "speechiness", "acousticness"],
                    [f["acousticness"], f["danceability"], f["energy"], f["speechiness"]],
                    strict=True,
                )
            )
        ),
        "two columns of one name": lambda f: csv(f.rename(columns={"valence": "energy"})),
        "no line with names": lambda f: csv(f, header=False),
    },
    "Rows": {
        "one row": lambda f: f.head(1),
        "no rows": lambda f: f.head(0),
        "every row twice": lambda f: pd.concat([f, f]),
        "rows drawn with replacement": lambda f: some(f, 4, again=True),
        "one genre only": lambda f: f[f["genre"] == "techno"],
        "a genre is gone": lambda f: f[f["genre"] != "trance"],
        "a genre is there twice as often": lambda f: pd.concat(
            [f, f[f["genre"] == "Emo"].assign(tempo=lambda g: g["tempo"] + 0.01)]
        ),
        "only fast songs": lambda f: f[f["tempo"] > 130],
        "a fifth of the rows is one row, barely changed": lambda f: pd.concat(
            [
                f,
                f.iloc[[0] * (len(f) // 5)].assign(
                    tempo=lambda g: g["tempo"] + np.arange(len(g)) / 1e4
                ),
            ]
        ),
        "genres belong to other rows": to("genre", shuffled),
        "energies belong to other rows": to("energy", shuffled),
    },
    "Files": {
        "0 bytes": lambda f: File("songs.parquet", b""),
        "a parquet file cut in half": lambda f: File(
            "songs.parquet", f.to_parquet()[: len(f.to_parquet()) // 2]
        ),
        "a page of HTML": lambda f: File("songs.parquet", b"<!doctype html><p>Log in first"),
        "semicolons between the fields": lambda f: csv(f, sep=";"),
        "tabs between the fields": lambda f: csv(f, sep="\t"),
        "a line with a field too many": lambda f: lines(
            f, lambda text: [*text[:40], text[40] + ",1", *text[41:]]
        ),
        "a line cut off": lambda f: lines(f, lambda text: [*text[:-1], text[-1][:20]]),
        "a quote that never ends": lambda f: lines(
            f, lambda text: [*text[:9], '"' + text[9], *text[10:]]
        ),
        "JSON instead of CSV": lambda f: File("songs.csv", f.to_json(orient="records").encode()),
        "CSV under the name of parquet": lambda f: csv(f)._replace(name="songs.parquet"),
    },
}

VARIATIONS: dict[str, Change] = {
    "the half as it is": lambda f: f,
    "its rows in another order": lambda f: some(f, 1),
    "its rows backwards": lambda f: f[::-1],
    "its rows by tempo": lambda f: f.sort_values("tempo"),
    "its columns backwards": lambda f: f[f.columns[::-1]],
    "an extra column": lambda f: f.assign(id=range(len(f))),
    "a third of its rows": lambda f: some(f, 2, len(f) // 3),
    "300 of its rows": lambda f: some(f, 3, 300),
    **{
        f"nine tenths of its rows, seed {seed}": lambda f, s=seed: some(f, s, len(f) * 9 // 10)
        for seed in range(4, 8)
    },
    **{f"other made songs, seed {seed}": made(seed) for seed in range(11, 16)},
    "CSV": csv,
    "a compressed CSV file": lambda f: File(
        "songs.csv", gzip.compress(f.to_csv(index=False).encode())
    ),
    "CSV with a byte order mark": lambda f: File(
        "songs.csv", f.to_csv(index=False).encode("utf-8-sig")
    ),
    "CSV with lines ending as on Windows": lambda f: csv(f, lineterminator="\r\n"),
    "CSV with all fields quoted": lambda f: csv(f, quoting=1),
    "parquet by zstd, in small row groups": lambda f: parquet(
        f, compression="zstd", row_group_size=100
    ),
    "parquet with its row index": lambda f: parquet(f.set_index(f.index + 5), index=True),
    "numbers of half the size": lambda f: f.astype(
        {"energy": "float32", "tempo": "float32", "key": "int8", "duration_ms": "int32"}
    ),
    "genres as categories": lambda f: f.astype({"genre": "category"}),
    "integers that may be missing": lambda f: f.astype({"key": "Int64", "mode": "Int64"}),
}


def halves() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the reference and the table that the changes start from."""
    songs = pd.read_parquet(SONGS)
    first = np.random.default_rng(42).permutation(len(songs)) % 2 == 0
    return songs[first].reset_index(drop=True), songs[~first].reset_index(drop=True)


def send(table: pd.DataFrame | File, folder: Path) -> Outcome:
    """Send a table through the steps; the first one that passes becomes the reference."""
    file = (
        table if isinstance(table, File) else File("songs.parquet", table.to_parquet(index=False))
    )
    path = folder / file.name
    path.write_bytes(file.content)
    steps: dict[str, Callable[[], None]] = {
        "get_data": lambda: get_data.main(["--file_url", str(path), "--artifact_name", file.name]),
        "preprocess": lambda: preprocess.main(
            ["--input_artifact", f"{file.name}:latest", "--artifact_name", TABLE]
            + ["--dataset_config", DATASET]
        ),
        "check_data": lambda: check_data.main(
            ["--reference_artifact", f"{TABLE}:reference", "--sample_artifact", f"{TABLE}:latest"]
            + ["--ks_alpha", ALPHA, "--dataset_config", DATASET]
        ),
    }
    for step, run in steps.items():
        try:
            run()
        except UserError as error:
            return Outcome(step, str(error).replace(f"{folder}/", ""))
    return Outcome()


def everything(folder: Path) -> Iterator[tuple[str, str, Outcome]]:
    """Yield the heading, the name and the outcome of each corruption, then of each variation."""
    reference, half = halves()
    assert send(reference, folder) == Outcome()
    for heading, changes in CORRUPTIONS.items():
        for name, change in changes.items():
            yield heading, name, send(change(half), folder)
    for name, change in VARIATIONS.items():
        yield "Nothing wrong", name, send(change(half), folder)


def markdown(rows: list[tuple[str, str, Outcome]]) -> str:
    """Return the outcomes as a table, with a count of each kind below."""
    parts = []
    caught = dict.fromkeys(heading for heading, _, _ in rows)
    for heading in caught:
        those = [(name, outcome) for at, name, outcome in rows if at == heading]
        caught[heading] = (sum(outcome.step is not None for _, outcome in those), len(those))
        parts += ["", f"## {heading}", "| what is changed | caught by | in these words |"]
        parts.append("|---|---|---|")
        for name, (step, says) in those:
            says = says if len(says) <= LONGEST else f"{says[: LONGEST - 4]} ..."
            words = html.escape(says, quote=False).replace("|", "\\|")
            parts.append(f"| {name} | {step or '-'} | {words} |")
    alarms, n_clean = caught.pop("Nothing wrong")
    found, n = map(sum, zip(*caught.values(), strict=True))
    count = f"{found} of {n} corruptions caught; {alarms} of {n_clean} good tables refused."
    return "\n".join([INTRODUCTION.format(count=count), *parts, ""])


def main() -> None:
    """Print the table; the steps' own output goes nowhere."""
    import contextlib
    import io

    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(
            TRACKING_STORE=f"{folder}/store", TRACKING_PUBLISH="parent", WANDB_PROJECT="corruptions"
        )
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            rows = list(everything(Path(folder)))
    print(markdown(rows), end="")


if __name__ == "__main__":
    main()
