#!/usr/bin/env python
"""Make the demo table songs_demo.parquet: invented songs in 15 genres.

No row is taken from anywhere. Every value is drawn from the tables below, which say in round
numbers how a genre usually sounds (drum and bass runs at about 174 beats per minute). The same
rows and seed give the same bytes with numpy 2.4.6 and pyarrow 25.0.1; other versions may draw or
write differently, which tests/dataset/test_songs_demo.py notices.
"""

import argparse
import hashlib
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


class Genre(NamedTuple):
    """How the songs of one genre sound; the comment above `GENRES` explains the columns."""

    name: str
    songs: int
    bpm: int
    bpm_spread: int
    minutes: float
    loudness: int
    danceability: float
    energy: float
    speechiness: float
    acousticness: float
    liveness: float
    valence: float
    instrumental: float
    major: float


# songs: of 1,000 distinct ones, so Pop is rare and Underground Rap frequent. bpm, +-: usual tempo
# and its standard deviation. min: usual minutes. loud: dB relative to full scale. dance .. valen:
# averages between 0 and 1. instr: share of songs without a voice. major: share in a major key.
# Chosen by hand and round on purpose; neighbouring genres overlap, as they do for listeners.
# fmt: off
GENRES = (
    #     name             songs bpm +- min loud dance energy speech acoust live valen instr major
    Genre("dnb",              70, 174,  7, 5.0, -4, 0.50, 0.90, 0.10, 0.05, 0.20, 0.25, 0.50, 0.45),
    Genre("hardstyle",        70, 150,  7, 4.0, -4, 0.50, 0.90, 0.10, 0.05, 0.30, 0.30, 0.30, 0.40),
    Genre("psytrance",        70, 142,  7, 7.0, -6, 0.60, 0.90, 0.05, 0.05, 0.25, 0.25, 0.80, 0.60),
    Genre("techhouse",        70, 125,  7, 5.0, -7, 0.80, 0.80, 0.05, 0.05, 0.15, 0.50, 0.60, 0.55),
    Genre("techno",           70, 130,  7, 6.0, -8, 0.70, 0.80, 0.05, 0.05, 0.15, 0.20, 0.80, 0.60),
    Genre("trance",           70, 136,  7, 5.0, -6, 0.55, 0.90, 0.05, 0.05, 0.25, 0.25, 0.60, 0.45),
    Genre("trap",             70, 148, 10, 4.0, -3, 0.65, 0.90, 0.20, 0.05, 0.25, 0.30, 0.30, 0.60),
    Genre("Dark Trap",       110, 140, 25, 3.0, -8, 0.60, 0.60, 0.15, 0.15, 0.20, 0.25, 0.30, 0.55),
    Genre("Emo",              40, 145, 30, 3.5, -5, 0.50, 0.80, 0.05, 0.10, 0.20, 0.45, 0.05, 0.70),
    Genre("Hiphop",           70, 130, 30, 4.0, -7, 0.70, 0.65, 0.25, 0.20, 0.20, 0.55, 0.05, 0.55),
    Genre("Pop",              10, 120, 25, 3.5, -6, 0.65, 0.70, 0.05, 0.15, 0.15, 0.60, 0.05, 0.65),
    Genre("Rap",              45, 130, 30, 3.5, -7, 0.75, 0.65, 0.20, 0.15, 0.20, 0.45, 0.05, 0.50),
    Genre("RnB",              50, 115, 30, 4.0, -7, 0.65, 0.60, 0.15, 0.25, 0.15, 0.50, 0.05, 0.50),
    Genre("Trap Metal",       45, 145, 25, 2.5, -5, 0.65, 0.80, 0.20, 0.10, 0.25, 0.30, 0.10, 0.65),
    Genre("Underground Rap", 140, 145, 25, 3.0, -7, 0.75, 0.65, 0.20, 0.15, 0.20, 0.45, 0.05, 0.60),
)
# fmt: on
# How tightly songs gather around their genre's average (concentration of a beta distribution).
TIGHTNESS = {
    "danceability": 10,
    "energy": 9,
    "speechiness": 10,
    "acousticness": 3,
    "liveness": 6,
    "valence": 4,
}
# Club genres have the title of the playlist they were found in, the others a song name. A playlist
# holds mostly the genres named here and, by `STRAY_SHARE`, some of every other club genre: its
# title hints at a genre and never gives it away.
PLAYLISTS = {
    "Orvane Warehouse Hours": ("dnb", "techno", "trap"),
    "Orvane Festival Hours": ("techhouse", "techno", "trance"),
    "Orvane Festival Mainfloor": ("hardstyle", "trance", "trap", "dnb"),
    "Marrowby Warehouse Hours": ("techno", "techhouse", "psytrance"),
    "Marrowby Mainfloor": ("dnb", "hardstyle", "trap"),
    "Ildune Festival": ("psytrance", "trance", "hardstyle"),
    "Ildune Warehouse": ("techhouse", "trap", "psytrance"),
}
INVENTED = (
    "Averin Bolmira Cassoli Delvane Ellume Fennica Gorvale Hesperin Ivarra Jolende Kelmory Lumerin "
    "Movanne Nerrick Oltessa Pravelle Quorima Rovelda Sennaro Tavoska Ulvenne Vessarin Wendolia "
    "Xanteva Yolmere Zarvelle"
).split()
NOUNS = (
    "Anchor Balcony Candle Driveway Echo Ferry Garden Hallway Island Jacket Kettle Lantern Mirror "
    "Notebook Orchard Postcard Quarry Ribbon Staircase Tunnel Umbrella Valley Window Yard"
).split()
# A word that ends some song names, mostly in the genres named here.
ENDINGS = {
    "Freestyle": ("Rap", "Underground Rap", "Hiphop"),
    "Slowed": ("Dark Trap", "RnB", "Underground Rap"),
    "Demo": ("Emo", "Trap Metal", "Underground Rap"),
    "Acoustic": ("Emo", "Pop", "RnB"),
    "Skit": ("Hiphop", "Rap"),
    "Rage": ("Trap Metal", "Dark Trap"),
}
ENDING_SHARE = 0.4  # of song names have one
STRAY_SHARE = 0.4  # of playlists and endings are drawn from all of them, whatever the genre

TIME_SIGNATURES = {4: 0.95, 3: 0.03, 5: 0.015, 1: 0.005}  # shares
LOUDNESS_NULL_SHARE = 0.21
DUPLICATE_SHARE = 0.02
MIN_ROWS = 500  # below this the rarest genre has too few songs to be split twice

SCHEMA = pa.schema(
    {
        "danceability": pa.float64(),
        "energy": pa.float64(),
        "key": pa.int64(),
        "loudness": pa.float64(),
        "mode": pa.int64(),
        "speechiness": pa.float64(),
        "acousticness": pa.float64(),
        "instrumentalness": pa.float64(),
        "liveness": pa.float64(),
        "valence": pa.float64(),
        "tempo": pa.float64(),
        "type": pa.string(),
        "duration_ms": pa.int64(),
        "time_signature": pa.int64(),
        "genre": pa.string(),
        "song_name": pa.string(),
        "title": pa.string(),
    }
)


def songs_per_genre(n_songs: int) -> list[int]:
    """Share `n_songs` out in the proportions of `GENRES`; the largest remainders round up."""
    exact = [n_songs * genre.songs / sum(g.songs for g in GENRES) for genre in GENRES]
    counts = [int(share) for share in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: counts[i] - exact[i])
    for i in by_remainder[: n_songs - sum(counts)]:
        counts[i] += 1
    return counts


def make_genre(genre: Genre, n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Draw `n` songs of one genre as a column name to values mapping; text columns hold None."""
    columns = {}
    for feature, tightness in TIGHTNESS.items():
        average = getattr(genre, feature)
        values = rng.beta(average * tightness, (1 - average) * tightness, n)
        columns[feature] = values.round(4)
    without_voice = rng.random(n) < genre.instrumental
    columns["instrumentalness"] = np.where(
        without_voice, rng.beta(6, 2, n), rng.beta(0.2, 12, n)
    ).round(4)
    # Energetic songs are mastered louder.
    loudness = genre.loudness + 6 * (columns["energy"] - genre.energy) + rng.normal(0, 2, n)
    loudness = loudness.clip(-34, 4).round(2)
    columns["loudness"] = np.where(rng.random(n) < LOUDNESS_NULL_SHARE, np.nan, loudness)
    tempo = rng.normal(genre.bpm, genre.bpm_spread, n)
    columns["tempo"] = tempo.clip(60, 240).round(2)
    minutes = rng.gamma(12, genre.minutes / 12, n)
    columns["duration_ms"] = (minutes * 60_000).clip(30_000, 900_000).astype("int64")
    columns["key"] = rng.integers(0, 12, n)
    columns["mode"] = (rng.random(n) < genre.major).astype("int64")
    columns["time_signature"] = rng.choice(
        list(TIME_SIGNATURES), n, p=list(TIME_SIGNATURES.values())
    )
    columns["type"] = np.full(n, "audio_features", dtype=object)
    columns["genre"] = np.full(n, genre.name, dtype=object)
    columns["title"], columns["song_name"] = make_names(genre.name, n, rng)
    return columns


def make_names(genre: str, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw `n` playlist titles and song names; one of the two is None throughout."""
    nothing = np.full(n, None, dtype=object)
    if any(genre in genres for genres in PLAYLISTS.values()):
        playlists = draw_hints(PLAYLISTS, genre, n, rng)
        numbers = rng.integers(1, 5, n)
        titles = [f"{name} {number}" for name, number in zip(playlists, numbers, strict=True)]
        return np.array(titles, dtype=object), nothing
    endings = np.where(rng.random(n) < ENDING_SHARE, draw_hints(ENDINGS, genre, n, rng), "")
    words = zip(rng.choice(INVENTED, n), rng.choice(NOUNS, n), endings, strict=True)
    return nothing, np.array([" ".join(parts).strip() for parts in words], dtype=object)


def draw_hints(
    genres_of: dict[str, tuple[str, ...]], genre: str, n: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw `n` keys of `genres_of`: those that name `genre`, or by `STRAY_SHARE` any."""
    usual = rng.choice([hint for hint, genres in genres_of.items() if genre in genres], n)
    return np.where(rng.random(n) < STRAY_SHARE, rng.choice(list(genres_of), n), usual)


def make_table(rows: int, seed: int) -> pa.Table:
    """Return `rows` shuffled songs, `DUPLICATE_SHARE` of them exact copies of another row."""
    rng = np.random.default_rng(seed)
    n_copies = round(rows * DUPLICATE_SHARE)
    counts = songs_per_genre(rows - n_copies)
    parts = [make_genre(genre, n, rng) for genre, n in zip(GENRES, counts, strict=True)]
    copies = rng.choice(rows - n_copies, n_copies, replace=False)
    # Shuffled: sorted by genre, a row's place would tell its genre.
    order = rng.permutation(np.concatenate([np.arange(rows - n_copies), copies]))
    columns = [
        pa.array(np.concatenate([part[name] for part in parts])[order], type_, from_pandas=True)
        for name, type_ in zip(SCHEMA.names, SCHEMA.types, strict=True)
    ]
    return pa.table(columns, schema=SCHEMA)


def write(table: pa.Table, path: Path) -> None:
    """Write `table` as parquet; `path` is either the whole new file or untouched."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        pq.write_table(table, unfinished, compression="zstd", compression_level=19)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def build_parser() -> argparse.ArgumentParser:
    """Name the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="example: python dataset/make_songs_demo.py --rows 100000 --output many.parquet",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--rows", type=int, default=7000, help=f"number of rows, at least {MIN_ROWS}"
    )
    parser.add_argument(
        "--seed", type=int, default=42, help="0 or more; another seed makes other songs"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(__file__).resolve().with_name("songs_demo.parquet"),
        help="file to write; an existing one is replaced",
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Make the table and print what was written; `argv` defaults to the command line."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.rows < MIN_ROWS:
        parser.error(f"--rows must be at least {MIN_ROWS}, found {args.rows}")
    if args.seed < 0:
        parser.error(f"--seed must be 0 or more, found {args.seed}")
    if not args.output.parent.is_dir():
        parser.error(f"--output: no folder {args.output.parent}; make it first")
    table = make_table(args.rows, args.seed)
    write(table, args.output)
    content = args.output.read_bytes()
    print(f"wrote {args.output}")
    print(f"rows    {table.num_rows}")
    print(f"columns {table.num_columns}")
    print(f"classes {len(GENRES)}")
    print(f"bytes   {len(content)}")
    print(f"sha256  {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
