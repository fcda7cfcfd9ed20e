"""What a picture of a page costs, drawn by hand (util_lib/pages/pictures.py) and by matplotlib.

The same two distributions in 20 bins, as SVG: CPU time of one picture, its bytes, and CPU time of
the import.

    python benchmarks/pictures.py [--n 50]
"""

import argparse
import io
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

IMPORTS = {
    "by hand": "import util_lib.pages.pictures",
    "matplotlib": "from matplotlib.figure import Figure; import matplotlib.backends.backend_svg",
}
COST = "import time; a = time.process_time(); {}; print(time.process_time() - a)"
Shares = list[float]


def by_hand(now: Shares, before: Shares) -> str:
    """Draw as the pages do."""
    from util_lib.pages import pictures

    shapes = {"kind": "numbers", "edges": [*range(21)], "now": now, "before": before}
    return pictures.distributions(shapes, "two distributions")


def by_matplotlib(now: Shares, before: Shares) -> str:
    """Draw the same, letters as text."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams["svg.fonttype"] = "none"
    figure = Figure(figsize=(5, 2.4), layout="constrained")
    axes = figure.add_subplot()
    axes.bar(range(20), now, width=1)
    axes.stairs(before, range(21))
    text = io.StringIO()
    figure.savefig(text, format="svg")
    return text.getvalue()


def main() -> None:
    """Print a line for each way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=50, help="pictures")
    n = parser.parse_args().n
    now = [(i + 1) / 210 for i in range(20)]
    ways: dict[str, Callable[[Shares, Shares], str]]
    ways = {"by hand": by_hand, "matplotlib": by_matplotlib}
    for name, draw in ways.items():
        code = [sys.executable, "-c", COST.format(IMPORTS[name])]
        imported = float(subprocess.check_output(code, cwd=ROOT, text=True))
        size = len(draw(now, now[::-1]))
        start = time.process_time()
        for _ in range(n):
            draw(now, now[::-1])
        each = 1000 * (time.process_time() - start) / n
        print(f"{name:11}{each:8.2f} ms, {size:7,} bytes, import {imported:.2f} s")


if __name__ == "__main__":
    main()
