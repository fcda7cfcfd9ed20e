"""A year in an afternoon: a service, a monitor and `update`, week after week, with what goes wrong.

Plays weeks of invented songs in an empty folder, by the real commands: a delivery of labelled songs
(of two weeks before, as labels come late), a service that answers the week's songs with capture on,
`update` while it answers, labels of two weeks before, the monitor. In some weeks something happens:

- week 14: the songs get quieter (energy x 0.8)
- week 20: a bad delivery (a third of the tempos is 9,999), corrected a week later
- week 30: four genres swap their names
- week 40: a sabotaged candidate (trees of depth 1)
- in twenty weeks, drawn by the seed: `update` is killed (SIGKILL) and called again

In a shorter year the same happens in proportion: week 14 of 52 is week 6 of 22.

Recorded rows get the times of their week: a service knows only today. The last lines say what was
asked of the year and what came of it; the exit code is 1 where one does not hold.

    python benchmarks/a_year.py [--weeks 52] [--rows 600] [--seed 1] [--picture year.png]
"""

import argparse
import datetime
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import requests

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from dataset.make_songs_demo import make_table
from util_lib import monitoring_log

PROJECT = "songs_year"
FIRST_MONDAY = datetime.datetime(2026, 1, 5, tzinfo=datetime.UTC)  # of 2026-W02
LATE = 2  # weeks until labels are known
EVENTS = {"quieter": 14, "bad": 20, "swap": 30, "sabotage": 40}  # weeks of a whole year
SWAPPED = ("dnb", "hardstyle", "psytrance", "techhouse", "dnb")
PER_REQUEST = 20
MEASURED = 8_000  # songs, the same in each week that is measured: an error of a difference < 0.01
BACK = 0.01  # how near to the score before a change the score after it must come
OPTIONS = (
    "dataset=songs_demo main.env_manager=local main.tracking=local data.sha256=null "
    f"main.project_name={PROJECT} data.partition.by=file data.partition.window=6 "
    "data.test=newest_partition random_forest_pipeline.random_forest.n_estimators=30"
)
SABOTAGED = "random_forest_pipeline.random_forest.max_depth=1"
SAYS = {0: "promoted or nothing", 1: "broken", 2: "data refused", 3: "model refused"}


@dataclass
class Year:
    """Where the year is played, and what came of its weeks."""

    home: Path
    rows: int
    seed: int
    environment: dict[str, str]
    events: dict[str, int]
    weeks: list[dict[str, Any]] = field(default_factory=list)
    failed: int = 0
    asked: int = 0


def songs(year: Year, week: int, seed: int) -> pd.DataFrame:
    """Return the songs of a week, as they are then, with their genres."""
    return as_of(year, week, make_table(year.rows, seed * 1000 + week).to_pandas())


def as_of(year: Year, week: int, table: pd.DataFrame) -> pd.DataFrame:
    """Return songs as they would be in a week."""
    found = table.drop_duplicates(ignore_index=True)
    if week >= year.events["quieter"]:
        found["energy"] = (found["energy"] * 0.8).round(4)
    if week >= year.events["swap"]:
        names = dict(zip(SWAPPED, SWAPPED[1:], strict=False))
        found["genre"] = found["genre"].replace(names)
    return found


def name(week: int) -> str:
    """Return what the calendar calls a week of the year that is played."""
    year, number, _ = (FIRST_MONDAY + datetime.timedelta(weeks=week - 2)).isocalendar()
    return f"{year}-W{number:02d}"


def deliver(year: Year, week: int, spoiled: bool = False) -> None:
    """Put the labelled songs of two weeks before where `update` looks."""
    table = songs(year, week - LATE, year.seed + 7)  # other songs than the service answers
    if spoiled:
        table.loc[table.index % 3 == 0, "tempo"] = 9999.0
    path = year.home / "incoming" / f"songs_{name(week)}.parquet"
    path.parent.mkdir(exist_ok=True)
    table.to_parquet(path, index=False)
    os.utime(path, (time.time() - 600,) * 2)  # it has stopped growing


def command(year: Year, *words: str, kill_after: float = 0.0) -> subprocess.CompletedProcess:
    """Run a command of the project where the user stands; kill it after a while if asked to."""
    process = subprocess.Popen(
        [sys.executable, *words],
        cwd=year.home,
        env=year.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    if kill_after:
        try:
            process.wait(kill_after)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
    out, err = process.communicate()
    return subprocess.CompletedProcess(words, process.returncode, out, err)


class Service:
    """A service that answers by `prod` and records all that it answers."""

    def __init__(self, year: Year) -> None:
        """Start it, and wait until it answers."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url, self._year = f"http://127.0.0.1:{port}", year
        given = ["--port", str(port), "--capture", "all", "--poll_seconds", "0.5"]
        self._process = subprocess.Popen(
            [sys.executable, str(ROOT / "serving" / "serve.py"), *given],
            cwd=year.home,
            env=year.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(600):
            try:
                requests.get(f"{self.url}/ping", timeout=5).raise_for_status()
                return
            except requests.RequestException:
                time.sleep(0.2)
        raise SystemExit("the service did not begin to answer")

    def right(self, week: int, rows: pd.DataFrame, part: str) -> list[bool]:
        """Ask for the genres of `rows`; say of each answer whether it is right."""
        asked = rows.drop(columns=["genre", "type"])
        titles = rows["title"].fillna(""), rows["song_name"].fillna("")
        asked = asked.drop(columns=["title", "song_name"])
        asked["text_feature"] = titles[0] + " " + titles[1]
        found: list[bool] = []
        for start in range(0, len(rows), PER_REQUEST):
            piece = json.loads(asked.iloc[start : start + PER_REQUEST].to_json(orient="records"))
            self._year.asked += 1
            try:
                answer = requests.post(
                    f"{self.url}/invocations",
                    json={"dataframe_records": piece},
                    headers={"X-Request-Id": f"w{week}-{part}{start}"},
                    timeout=60,
                )
                answer.raise_for_status()
                given = answer.json()["predictions"]
            except requests.RequestException:
                self._year.failed += 1
                continue
            truth = rows["genre"].iloc[start : start + PER_REQUEST]
            found += [one == other for one, other in zip(given, truth, strict=True)]
        return found

    def stop(self) -> None:
        """Let it write what it has recorded, and end."""
        time.sleep(1.5)
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()


def move_to_week(year: Year, week: int) -> str:
    """Give the rows that were recorded just now times of their week; return the last version."""
    root, version = year.home / monitoring_log.FOLDER, ""
    start = FIRST_MONDAY + datetime.timedelta(weeks=week - 2)
    for path in monitoring_log.spools(root, PROJECT):
        stream = monitoring_log.read_spool(path)
        if stream is None or not stream.batches:
            continue
        table = pa.Table.from_batches(stream.batches)
        days = [start + datetime.timedelta(hours=6, seconds=5 * i) for i in range(len(table))]
        times = pa.array(days, table.schema.field("time").type)
        table = table.set_column(0, table.schema.field("time"), times)
        with pa.ipc.new_stream(path, table.schema) as writer:
            writer.write_table(table)
        version = table.column("version")[-1].as_py()
    return version.rpartition(":")[2]


def measure(year: Year, week: int) -> float:
    """Return the share of right answers of `prod` to the same songs in each week, as of then."""
    rows = as_of(year, week, make_table(MEASURED, year.seed).to_pandas())
    asked, answers = year.home / "measured.parquet", year.home / "answers.parquet"
    rows.to_parquet(asked, index=False)
    given = ["--input", str(asked), "--output", str(answers)]
    done = command(year, str(ROOT / "serving" / "predict.py"), *given)
    if done.returncode:
        raise SystemExit(f"the model in use could not be measured: {done.stderr[-500:]}")
    right = pd.read_parquet(answers)["prediction"].to_numpy() == rows["genre"].to_numpy()
    return float(right.mean())


def labels(year: Year, week: int) -> pd.DataFrame:
    """Return the labels of a week by request and row."""
    rows = songs(year, week, year.seed)
    half, found = len(rows) // 2, []
    for part, piece in (("a", rows.iloc[:half]), ("b", rows.iloc[half:])):
        at = pd.Series(range(len(piece)))
        start = at // PER_REQUEST * PER_REQUEST
        request = [f"w{week}-{part}{each}" for each in start]
        found.append(
            pd.DataFrame(
                {"request": request, "row": at - start, "genre": piece["genre"].to_numpy()}
            )
        )
    return pd.concat(found)


def play(year: Year, week: int, kill_after: float, last: int) -> None:
    """Play one week of a year until the `last`, and keep what came of it."""
    deliver(year, week, spoiled=week == year.events["bad"])
    if week == year.events["bad"] + 1:
        deliver(year, week - 1)
    about: dict[str, Any] = {"week": week, "killed": bool(kill_after)}
    service = Service(year) if any("promoted" in each["said"] for each in year.weeks) else None
    rows = songs(year, week, year.seed)
    half = len(rows) // 2
    before = service.right(week, rows.iloc[:half], "a") if service else []
    options = f"{OPTIONS} data.file_url={year.home / 'incoming'}"
    words = ["-m", "pipeline.commands.update"]
    words.append(
        f"--hydra_options={options}{f' {SABOTAGED}' if week == year.events['sabotage'] else ''}"
    )
    if kill_after:
        command(year, *words, kill_after=kill_after)
    done = command(year, *words)
    about |= {"update": done.returncode, "said": (done.stdout or done.stderr).strip()[-300:]}
    if service:
        time.sleep(2)  # it looks twice a second whether prod has moved
        after = service.right(week, rows.iloc[half:], "b")
        service.stop()
        about["version"] = move_to_week(year, week)
        about["score"] = sum(after) / max(len(after), 1)
        about["before"] = sum(before) / max(len(before), 1)
        if "score" in dict(enumerate(year.weeks, 1)).get(week - LATE, {}):
            labels(year, week - LATE).to_csv(year.home / "labels.csv", index=False)
            given = ["--labels", "labels.csv", "--key", "request,row", "--project", PROJECT]
            command(year, str(ROOT / "monitoring" / "labels.py"), *given)
        given = ["--window", "week", "--until", name(week), "--project", PROJECT]
        told = command(year, str(ROOT / "monitoring" / "run.py"), *given)
        about["monitor"] = told.returncode
        try:
            verdict = json.loads(told.stdout.strip().splitlines()[-1])
            alarms = [f"{each['test']} {each['column'] or ''}" for each in verdict["alarms"]]
            about |= {"state": verdict["state"], "alarms": alarms}
        except (IndexError, ValueError, KeyError):
            about["state"] = (told.stderr or told.stdout).strip()[-200:]
    if week + 1 in (year.events["quieter"], year.events["swap"]) or week == last:
        about["measured"] = measure(year, week)
    year.weeks.append(about)
    print(
        f"{name(week)}  update {SAYS.get(about['update'], about['update']):20} "
        f"{'killed once ' if about['killed'] else '':12}{about.get('version', ''):5}"
        f"{about.get('score', float('nan')):6.3f}  {about.get('state', '')} "
        f"{', '.join(about.get('alarms', []))[:70]}",
        flush=True,
    )
    print(f"          {about['said'].splitlines()[-1][:160] if about['said'] else ''}", flush=True)


def conclude(year: Year) -> list[tuple[str, bool]]:
    """Return what was asked of the year, and whether it holds."""
    weeks = {about["week"]: about for about in year.weeks}
    last, at = max(weeks), year.events
    asked = [("no request failed", year.failed == 0)]

    def alarmed(first: int) -> bool:
        return any(weeks[w].get("state") == "alarm" for w in range(first, first + 3) if w in weeks)

    def moved(first: int) -> bool:
        versions = [
            weeks[w].get("version") for w in range(first - 1, first + LATE + 4) if w in weeks
        ]
        return len(set(versions)) > 1

    if last >= at["quieter"] + LATE + 3:
        asked.append(("quieter songs: an alarm within two windows", alarmed(at["quieter"])))
        asked.append(("and another prod within three weeks of labelled ones", moved(at["quieter"])))
    if last >= at["bad"]:
        asked.append(("the bad delivery is refused", weeks[at["bad"]]["update"] == 2))
    if last >= at["swap"] + LATE + 3:
        asked.append(
            ("swapped genres: an alarm within two labelled windows", alarmed(at["swap"] + LATE))
        )
        asked.append(("and another prod within three weeks of labelled ones", moved(at["swap"])))
    if last >= at["sabotage"]:
        asked.append(("the saboteur is not promoted", weeks[at["sabotage"]]["update"] == 3))
    measured = [(w, about["measured"]) for w, about in weeks.items() if "measured" in about]
    for (_, before), (week, after) in zip(measured, measured[1:], strict=False):
        words = f"{before:.4f} before, {after:.4f} in week {week}: back within {BACK}"
        asked.append((words, after >= before - BACK))
    return asked


def draw(year: Year, path: Path) -> None:
    """Draw the year: the score of what answers, where it moved, alarms, what happened."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    axes = figure.subplots()
    weeks = [about for about in year.weeks if "score" in about]
    at = [about["week"] for about in weeks]
    axes.plot(at, [about["score"] for about in weeks], marker="o", label="right answers")
    moved = [
        b["week"] for a, b in zip(weeks, weeks[1:], strict=False) if a["version"] != b["version"]
    ]
    axes.vlines(moved, 0, 1, linestyles="dashed", alpha=0.4, label="another prod")
    alarms = [about for about in weeks if about.get("state") == "alarm"]
    axes.scatter(
        [about["week"] for about in alarms],
        [about["score"] for about in alarms],
        s=160,
        facecolors="none",
        edgecolors="tab:red",
        label="alarm",
    )
    for words, week in year.events.items():
        axes.annotate(words, (week, 0.05), ha="center")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set(xlabel="week", ylabel="share of right answers", ylim=(0, 1))
    axes.legend(loc="lower left")
    figure.savefig(path)


def main() -> int:
    """Play the year and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weeks", type=int, default=52)
    parser.add_argument("--rows", type=int, default=600, help="songs a week")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=20, help="weeks in which update is killed")
    parser.add_argument("--picture", type=Path, help="draw the year")
    args = parser.parse_args()
    others = ("TRACKING_", "MLFLOW_", "PIPELINE_", "WANDB_", "MONITORING_")
    environment = {key: text for key, text in os.environ.items() if not key.startswith(others)}
    environment |= {"PYTHONPATH": str(ROOT), "WANDB_PROJECT": PROJECT}
    moments = random.Random(args.seed)
    killed = moments.sample(range(1, args.weeks + 1), min(args.kills, args.weeks))
    with tempfile.TemporaryDirectory() as folder:
        events = {each: max(4, round(at * args.weeks / 52)) for each, at in EVENTS.items()}
        year = Year(Path(folder), args.rows, args.seed, environment, events)
        for week in range(1, args.weeks + 1):
            play(year, week, moments.uniform(0.5, 20) if week in killed else 0.0, args.weeks)
        asked = conclude(year)
    print(f"{year.asked} requests, {year.failed} failed")
    for words, holds in asked:
        print(f"{'yes' if holds else 'NO':4}{words}")
    if args.picture:
        draw(year, args.picture)
    return 0 if all(holds for _, holds in asked) else 1


if __name__ == "__main__":
    sys.exit(main())
