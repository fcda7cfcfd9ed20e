"""What there is, of what it was made, and what came of it: versions and runs as text and as a page.

Reads whatever backend is in use; `list_versions` alone is about the embedded store, W&B has pages.
"""

import textwrap
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from util_lib import page, safe_files, tracking
from util_lib.errors import UserError
from util_lib.tracking.choice import base_url, choose
from util_lib.tracking.store import values
from util_lib.tracking.store.database import open_store
from util_lib.tracking.store.places import refuse_no_store

LONGEST = 300  # characters of one fact
STYLE = """
main{max-width:70rem}ul{list-style:none;padding-left:1.4rem;border-left:1px solid #c9ced6}
li{margin:.35rem 0;overflow-wrap:anywhere}b{font-weight:600}small{color:#51596b}
.run{color:#51596b}.here{background:#eef4ff;padding:.2rem .4rem;border-radius:.3rem}
@media (prefers-color-scheme:dark){body{background:#14171d;color:#e6e9ef}small,.run{color:#aab2c0}
.here{background:#22304a}ul{border-color:#3a4150}}
"""


class Branch(NamedTuple):
    """One version or run, in words, and what hangs on it; `facts` stand behind the name."""

    kind: str
    name: str
    facts: str
    branches: list["Branch"]


def list_versions(project: str | None = None) -> list[tuple[str, ...]]:
    """Return reference, aliases, type, size and time of every version of the embedded store.

    Of one `project`, else of all. Raises `UserError` where there is none.
    """
    if choose().backend != "local":
        raise UserError(f"versions at W&B are listed there: {base_url()}")
    refuse_no_store()
    store = open_store()
    found = [v for v in store.all_versions() if project in (None, v.project)]
    if not found:
        raise UserError(
            f"there are no versions{f' of project {project!r}' if project else ''} in "
            f"{store.directory}: run the pipeline, or go to where it was run"
        )
    return [
        (v.reference, ", ".join(v.aliases), v.type, _size(v.size), values.utc(v.created_at))
        for v in sorted(found, key=lambda v: (v.project, v.name, v.number))
    ]


def facts(reference: str) -> list[tuple[str, str]]:
    """Return what is known of one version, a name and a text each."""
    artifact = tracking.Api().artifact(reference)
    run = artifact.logged_by()
    told = [
        ("artifact", f"{artifact.project}/{artifact.source_name}"),
        ("aliases", ", ".join(sorted(artifact.aliases))),
        ("type", artifact.type),
        ("digest", artifact.digest),
        ("size", f"{_size(artifact.size)}, {len(artifact.manifest.entries)} files"),
        ("description", artifact.description or ""),
        ("made", f"{artifact.created_at} by {_of_run(run)}" if run else str(artifact.created_at)),
        ("of", ", ".join(used.source_name for used in run.used_artifacts()) if run else ""),
        ("used by", ", ".join(_of_run(user) for user in artifact.used_by())),
    ]
    told += [(key, str(value)) for key, value in (artifact.metadata or {}).items() if value]
    return [
        (name, textwrap.shorten(text, LONGEST, placeholder=" ...")) for name, text in told if text
    ]


def lineage(reference: str) -> tuple[Branch, Branch]:
    """Return what a version was made of, back to the first data, and what came of it."""
    artifact = tracking.Api().artifact(reference)
    return _back(artifact, set()), _on(artifact, set())


def lines(branch: Branch, indent: str = "") -> Iterator[str]:
    """Give a branch as lines of text."""
    yield f"{indent}{branch.name}{f'  {branch.facts}' if branch.facts else ''}"
    for below in branch.branches:
        yield from lines(below, f"{indent}  ")


def write_page(reference: str, path: Path) -> None:
    """Write the lineage of a version as a page that needs nothing else."""
    back, on = lineage(reference)
    parts = [f"<main><h1>{escape(back.name)}</h1>"]
    for title, branch in (("What it was made of", back), ("What came of it", on)):
        parts.append(f"<h2>{title}</h2><ul>{_item(branch, 'here')}</ul>")
    with safe_files.writing(path):
        path.write_text(page.document(back.name, STYLE, [*parts, "</main>"]), encoding="utf-8")


def _back(artifact: Any, seen: set[str]) -> Branch:
    name = artifact.source_name
    run = None if name in seen else artifact.logged_by()
    if run is None:
        return Branch("artifact", name, "(see above)" if name in seen else _about(artifact), [])
    seen.add(name)
    sources = [_back(used, seen) for used in run.used_artifacts()]
    made = Branch("run", f"made by {_of_run(run)}", _code_of(run), sources)
    return Branch("artifact", name, _about(artifact), [made])


def _on(artifact: Any, seen: set[str]) -> Branch:
    name = artifact.source_name
    if name in seen:
        return Branch("artifact", name, "(see above)", [])
    seen.add(name)
    users = [
        Branch(
            "run",
            f"used by {_of_run(run)}",
            _code_of(run),
            [_on(made, seen) for made in run.logged_artifacts()],
        )
        for run in artifact.used_by()
    ]
    return Branch("artifact", name, _about(artifact), users)


def _item(branch: Branch, mark: str = "") -> str:
    below = "".join(_item(each) for each in branch.branches)
    text = f'<span class="{branch.kind} {mark}">'
    text += f"<b>{escape(branch.name)}</b> <small>{escape(branch.facts)}</small></span>"
    return f"<li>{text}{f'<ul>{below}</ul>' if below else ''}</li>"


def _about(artifact: Any) -> str:
    rows = (artifact.metadata or {}).get("rows")
    told = [", ".join(sorted(artifact.aliases)), f"{rows:,} rows" if rows else ""]
    return ", ".join(filter(None, [*told, _size(artifact.size)]))


def _of_run(run: Any) -> str:
    return f"{run.job_type or 'run'} {run.name} ({run.state})"


def _code_of(run: Any) -> str:
    return f"commit {run.commit[:10]}" if run.commit else ""


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:,.1f} MB" if n_bytes >= 100_000 else f"{n_bytes:,} bytes"
