"""What there is, of what it was made, and what came of it: versions and runs as text and as a page.

Reads whatever backend is in use; `list_versions` alone is about the embedded store, W&B has pages.
"""

import datetime
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from util_lib import tracking
from util_lib.errors import UserError
from util_lib.pages import graph_picture, page
from util_lib.pages.graph_picture import Node
from util_lib.tracking.choice import base_url, choose
from util_lib.tracking.store import values
from util_lib.tracking.store.database import open_store
from util_lib.tracking.store.places import refuse_no_store

LONGEST = 300  # characters of one fact
MOST_USERS = 12  # runs that used a version, the newest; a sweep reads its table for each trial


@dataclass
class Graph:
    """Versions and runs, and which was made of which; runs are known by their ids."""

    nodes: dict[str, Node] = field(default_factory=dict)
    edges: dict[tuple[str, str], None] = field(default_factory=dict)
    followed: set[str] = field(default_factory=set)

    def join(self, above: str, below: str) -> None:
        """Note that one was made of the other, or by it."""
        self.edges[above, below] = None

    def next_to(self, key: str, back: bool) -> list[str]:
        """Return what a node was made of, or what was made of it."""
        return [e[not back] for e in self.edges if e[back] == key]


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


def lineage(references: list[str], on: bool = True) -> Graph:
    """Return what versions were made of, back to the first data, and `on`, what came of them."""
    graph = Graph()
    for reference in references:
        artifact = tracking.Api().artifact(reference)
        _back(graph, artifact)
        if on:
            _on(graph, artifact)
            name = artifact.source_name
            graph.nodes[name] = graph.nodes[name]._replace(state="here")
    return graph


def lines(reference: str) -> Iterator[str]:
    """Give the lineage of a version as text: what it was made of, then what came of it."""
    graph = lineage([reference])
    [start] = [key for key, node in graph.nodes.items() if node.state == "here"]
    for back in (True, False):
        yield from _lines(graph, start, back, "", set())


def written(reference: str) -> str:
    """Return the lineage of a version as a page that needs nothing else."""
    graph = lineage([reference])
    return as_page(f"Lineage of {reference}", {"What it was made of, and what came of it": graph})


def as_page(title: str, graphs: dict[str, Graph]) -> str:
    """Return a page of graphs, each under its heading; the last one is told in a table too."""
    parts = []
    for number, (heading, graph) in enumerate(graphs.items()):
        keys = {key: f"g{number}n{place}" for place, key in enumerate(graph.nodes)}
        rows = [
            (keys[key], node, *(_named(graph, keys, key, back) for back in (True, False)))
            for key, node in graph.nodes.items()
        ]
        nodes = {keys[key]: node for key, node in graph.nodes.items()}
        edges = [(keys[a], keys[b]) for a, b in graph.edges]
        parts.append((heading, graph_picture.draw(nodes, edges, heading), rows))
    return page.render(Path(__file__).parent, "graph.html", title=title, parts=parts)


def _named(graph: Graph, keys: dict[str, str], key: str, back: bool) -> list[tuple[str, str]]:
    return [(keys[other], graph.nodes[other].name) for other in graph.next_to(key, back)]


def _back(graph: Graph, artifact: Any) -> None:
    name = artifact.source_name
    if name in graph.nodes:
        return
    graph.nodes[name] = Node("artifact", name, _about(artifact))
    if (run := artifact.logged_by()) is not None:
        _add_run(graph, run)
        graph.join(run.id, name)


def _add_run(graph: Graph, run: Any) -> None:
    """Add a run with all that it used, back to the first data."""
    if run.id in graph.nodes:
        return
    told = (f"{run.state}{_duration(run)}", run.name or "", _moment(run))
    code = (f"commit {run.commit[:10]}",) if run.commit else ()
    graph.nodes[run.id] = Node("run", run.job_type or "run", (*told, *code), run.state)
    for used in run.used_artifacts():
        _back(graph, used)
        graph.join(used.source_name, run.id)


def _on(graph: Graph, artifact: Any) -> None:
    name = artifact.source_name
    if name in graph.followed:
        return
    graph.followed.add(name)
    users = [*artifact.used_by()]
    if len(users) > MOST_USERS:
        node = graph.nodes[name]
        few = f"used by {len(users)} runs, {MOST_USERS} of them shown"
        graph.nodes[name] = node._replace(facts=(*node.facts, few))
    for run in users[-MOST_USERS:]:
        _add_run(graph, run)
        for made in run.logged_artifacts():
            _back(graph, made)
            _on(graph, made)


def _lines(graph: Graph, key: str, back: bool, indent: str, seen: set[str]) -> Iterator[str]:
    node = graph.nodes[key]
    by = f"{'made' if back else 'used'} by " if node.kind == "run" else ""
    again = key in seen
    facts = "(see above)" if again else ", ".join(filter(None, node.facts))
    yield f"{indent}{by}{node.name}  {facts}".rstrip()
    if not again:
        seen.add(key)
        for other in graph.next_to(key, back):
            yield from _lines(graph, other, back, f"{indent}  ", seen)


def _about(artifact: Any) -> tuple[str, ...]:
    rows = (artifact.metadata or {}).get("rows")
    told = [", ".join(sorted(artifact.aliases)), f"{rows:,} rows" if rows else ""]
    return tuple(filter(None, [*told, _size(artifact.size)]))


def _moment(run: Any) -> str:
    return str(run.created_at).replace("T", " ").removesuffix("Z")[:16] + " UTC"


def _duration(run: Any) -> str:
    """Return how long a run took, as far as anybody knows."""
    ended = getattr(run, "heartbeat_at", None)
    if not ended:
        return ""
    began, end = map(datetime.datetime.fromisoformat, (str(run.created_at), str(ended)))
    return f" in {(end - began).total_seconds():.0f} s"


def _of_run(run: Any) -> str:
    return f"{run.job_type or 'run'} {run.name} ({run.state})"


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:,.1f} MB" if n_bytes >= 100_000 else f"{n_bytes:,} bytes"
