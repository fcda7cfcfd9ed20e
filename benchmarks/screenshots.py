"""Take the pictures of the screens in docs/images: every page, of runs that are made for it.

In an empty folder the demo's pipeline runs, then bad data, a sweep, a comparison, the monitor on
made weeks, and the service; headless Chromium looks at what they wrote.

    python benchmarks/screenshots.py [--only NAME]     # make screenshots
"""

import argparse
import datetime
import os
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import requests

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
LAPTOP, PHONE = {"width": 1366, "height": 768}, {"width": 390, "height": 844}
PORT = 8931
MOST_BYTES = 150_000
PROJECT = "songs_demo"
FOREST = "random_forest_pipeline.random_forest."
SWEEP = ["-m", f"{FOREST}max_depth=4,8,16", f"{FOREST}min_samples_leaf=1,4"]
Screen = tuple[str, str, dict[str, int], str]  # its name, address, size, what is done before


def command(*words: str) -> str:
    """Run one of the project's commands here, and return what it says."""
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    print(f"{done.returncode}: {' '.join(words)[-100:]}", flush=True)
    return done.stdout + done.stderr


def run(*overrides: str) -> None:
    """Run the pipeline in the environment of this process."""
    command(str(ROOT / "main.py"), "main.env_manager=local", *overrides)


def page(name: str) -> str:
    """Return the address of the newest page of that name that MLflow shows."""
    found = sorted(Path("mlruns").rglob(f"artifacts/pages/{name}"), key=os.path.getmtime)
    return found[-1].absolute().as_uri()


def pages() -> Iterator[Screen]:
    """Make the pages that are files, one after the other."""
    run()
    yield "pipeline_run", page("lineage.html"), LAPTOP, ""
    yield "data_gate_passed", page("report.html"), LAPTOP, ""
    command("-m", "serving.promote", "--model", f"{PROJECT}/model_export:latest")
    lineage = ("lineage", f"{PROJECT}/model_export:latest", "--output", "lineage.html")
    command("-m", "util_lib.tracking", *lineage)
    yield "lineage", Path("lineage.html").absolute().as_uri(), LAPTOP, ""
    yield "lineage_phone", Path("lineage.html").absolute().as_uri(), PHONE, ""
    run("data.test_size=0.35", f"{FOREST}max_depth=6")
    both = ["--before", f"{PROJECT}/data_train.parquet:v0", "--now", "data_train.parquet:v1"]
    command("-m", "pipeline.commands.diff", *both, "--env_manager", "local")
    yield "diff", Path("diff.html").absolute().as_uri(), LAPTOP, ""
    run("main.execute_steps=train_random_forest", "main.experiment_name=depths", *SWEEP)
    yield "leaderboard", page("sweep_report.html"), LAPTOP, ""
    spoil()
    steps = "main.execute_steps=[get_data,preprocess,check_data]"
    run(f"data.file_url={Path('spoiled.parquet').absolute()}", "data.sha256=null", steps)
    yield "data_gate_failed", page("report.html"), LAPTOP, ""
    yield "monitoring", watched().as_uri(), LAPTOP, ""
    with service():
        address = f"http://127.0.0.1:{PORT}"
        yield "serving_page", address, LAPTOP, "#predict"
        yield "serving_phone", address, PHONE, "#predict"
        yield "serving_card", f"{address}/card", LAPTOP, ""
        yield "serving_docs", f"{address}/docs", LAPTOP, ""


def spoil() -> None:
    """Write the demo's songs, louder, and a few of them with a tempo that no song has."""
    table = pd.read_parquet(source())
    table["energy"] = (table["energy"] + 0.15).clip(upper=1)
    table.loc[table.index[:7], "tempo"] = 9999.0
    table.to_parquet("spoiled.parquet")


def source() -> Path:
    """Return the raw songs, as the store has them."""
    command("-m", "util_lib.tracking", "download", f"{PROJECT}/raw_data.parquet:latest", "raw")
    return next(path for path in Path("raw").rglob("*") if path.is_file())


def watched() -> Path:
    """Return the monitor's page of made weeks, in the last of which songs are louder."""
    os.environ["TRACKING_STORE"] = str(Path("watched", "tracking_store").absolute())
    os.environ |= {"TRACKING_BACKEND": "local", "WANDB_PROJECT": "tests"}
    sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "monitoring")]
    import log_support

    from monitoring import page, run

    folder = Path("watched").absolute()
    folder.mkdir()
    log_support.export(types.SimpleNamespace(folder=folder))
    for week in range(8):
        rows = log_support.songs(900, week, shift=0.15 * (week > 6))
        begin = log_support.MONDAY + week * datetime.timedelta(days=7)
        log_support.record(rows, begin)
    run.main([])
    page.main(["--output", str(folder / "monitoring.html")])
    del os.environ["TRACKING_STORE"]
    return folder / "monitoring.html"


@contextmanager
def service() -> Iterator[None]:
    """Serve the demo's model for a while."""
    words = ["-m", "serving.serve", "--model", f"{PROJECT}/model_export:prod", "--port", str(PORT)]
    started = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL)
    try:
        for _ in range(240):
            try:
                requests.get(f"http://127.0.0.1:{PORT}/ping", timeout=5)
                break
            except requests.RequestException:
                time.sleep(0.5)
        yield
    finally:
        started.terminate()
        started.wait()


def main() -> None:
    """Make the pages, and take the pictures."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="keep this picture alone")
    only = parser.parse_args().only
    os.environ["PYTHONPATH"] = str(ROOT)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as started:
        os.chdir(folder)
        browser = started.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=["--no-sandbox"]
        )
        for name, address, size, pressed in pages():
            opened = browser.new_context(viewport=size).new_page()
            opened.goto(address)
            opened.wait_for_timeout(500)
            if pressed:
                opened.click(pressed)
                opened.wait_for_timeout(3000)
            if only in ("", name):
                path = IMAGES / f"{name}.png"
                opened.screenshot(path=path)
                n_bytes = path.stat().st_size
                warning = " (too large)" if n_bytes > MOST_BYTES else ""
                print(f"{path.relative_to(ROOT)}: {n_bytes:,} bytes{warning}", flush=True)
            opened.context.close()
        browser.close()
        os.chdir(ROOT)


if __name__ == "__main__":
    main()
