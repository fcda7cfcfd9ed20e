"""What became of each file, as a table for people."""

from typing import Any


def summary(done: list[Any]) -> str:
    """Return a table of what became of each file, and of all together."""
    lines = [(str(d.output), d.rows, d.predicted, d.rejected, d.seconds) for d in done]
    if len(done) > 1:
        n_in, n_out = sum(d.rows for d in done), sum(d.predicted for d in done)
        n_bad, seconds = sum(d.rejected for d in done), sum(d.seconds for d in done)
        lines.append(("all", n_in, n_out, n_bad, seconds))
    width = max(len(line[0]) for line in lines)
    head = (
        f"{'output':{width}}  {'rows in':>12}  {'predicted':>12}  {'rejected':>10}  {'rows/s':>9}"
    )
    return "\n".join(
        [head]
        + [
            f"{name:{width}}  {n_in:>12,}  {n_out:>12,}  {n_bad:>10,}  {n_in / seconds:>9,.0f}"
            for name, n_in, n_out, n_bad, seconds in lines
        ]
    )
