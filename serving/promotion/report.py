"""A comparison as a table: on the screen, and as Markdown beside the JSON."""

from typing import Any

Line = tuple[str, str, str, str]


def lines(compared: dict[str, Any]) -> list[Line]:
    """Return the rows of the table: what, candidate, model in use, difference."""
    new, old = compared["candidate"], compared["champion"]
    alias = compared["alias"]
    none = "damaged" if compared.get("lost") else "none yet"
    made: list[Line] = [("", "candidate", alias if old else f"{alias}: {none}", "difference")]
    made.append(("version", *_both(new, old, lambda about: about["version"]), ""))
    for name in new["scores"]:
        values = _both(new, old, lambda about, name=name: f"{about['scores'][name]:.4f}")
        by = "" if old is None else f"{new['scores'][name] - old['scores'][name]:+.4f}"
        if old is not None and name == compared["metric"]:
            better = compared["difference"]
            ends = f"{better['low']:+.4f} to {better['high']:+.4f}"
            word = "better" if better["gain"] > 0 else "worse"
            by = f"{abs(better['gain']):.4f} {word} (95 % of the gain: {ends})"
        made.append((name, *values, by))
    for name, about in new.get("classes", {}).items():
        before = old["classes"][name] if old else None
        values = _both(about, before, lambda of: f"{of['f1']:.3f} / {of['recall']:.3f}")
        gains = [f"{about[kind] - before[kind]:+.3f}" for kind in ("f1", "recall") if before]
        line = f"F1 / recall of {name} ({about['rows']:,} rows)"
        made.append((line, *values, " / ".join(gains)))
    if "bytes" not in new:  # forced, and could not be measured
        return made
    measured = (
        ("size", lambda about: f"{about['bytes'] / 1e6:.1f} MB"),
        ("one row", lambda about: f"{about['ms_for_one_row']:.1f} ms"),
        ("rows per second", lambda about: f"{about['rows_per_second']:,}"),
    )
    return made + [(name, *_both(new, old, shown), "") for name, shown in measured]


def as_text(compared: dict[str, Any]) -> str:
    """Return the table in columns, with what it was measured on below it."""
    table = lines(compared)
    widths = [max(len(line[at]) for line in table) for at in range(4)]
    shown = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    ]
    return "\n".join([*shown, "", *_below(compared)])


def as_markdown(compared: dict[str, Any]) -> str:
    """Return the table in Markdown."""
    head, *rest = lines(compared)
    cells = [head, ("---",) * 4, *rest]
    table = "\n".join(f"| {' | '.join(line)} |" for line in cells)
    below = "\n\n".join(_below(compared))
    return f"# {compared['candidate']['version']} for {compared['alias']}\n\n{table}\n\n{below}\n"


def _below(compared: dict[str, Any]) -> list[str]:
    rows = compared["test_data"]
    if rows is None:
        return [*compared["notes"], f"{compared['decision']}: {compared['reason']}"]
    left = f", {rows['left_out']:,} left out" if rows["left_out"] else ""
    sentences = [f"measured on {rows['version']} ({rows['chosen']}): {rows['rows']:,} rows{left}"]
    return sentences + compared["notes"] + [f"{compared['decision']}: {compared['reason']}"]


def _both(new: dict[str, Any], old: dict[str, Any] | None, shown: Any) -> tuple[str, str]:
    return shown(new), shown(old) if old else ""
