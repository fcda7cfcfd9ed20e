"""What a run would do, without doing it: the steps, what goes from one to the next, how long."""

from rich.table import Table

from pipeline.caching import decision as reuse
from pipeline.caching import record
from pipeline.caching.versions import Versions
from pipeline.planning.step import Step
from pipeline.settings.schema import Settings
from util_lib.tracking.names import parse_reference


def table(settings: Settings, steps: list[Step], versions: Versions) -> Table:
    """Return one row for each step: cached or not and why, inputs, outputs, seconds.

    A step whose input is still to be made may turn out to be cached, or not: nobody knows before
    that input is there. The seconds are those that the step took last in this project.
    """
    shown = Table(title_justify="left")
    for name in ("step", "will", "inputs", "outputs"):
        shown.add_column(name, overflow="fold", no_wrap=name == "step")
    shown.add_column("seconds", justify="right", no_wrap=True)
    least, most, unknown = 0.0, 0.0, False
    n_cached, n_old = 0, 0
    made: dict[str, str] = {}
    open_ends: dict[str, str] = {}  # artifacts that may become others, and the step that makes them
    for step in steps:
        decision = reuse.decide(step, settings, versions, made)
        waits = [open_ends[name] for name in map(_name, step.inputs) if name in open_ends]
        way = "" if waits else reuse.way(step, settings, versions, made)
        will = "be cached" if decision.result else f"run: {decision.reason}{way}"
        if waits and decision.result:
            will = f"be cached, unless {waits[0]} makes something new"
        before = record.last(versions.directory, settings.main.project_name, step.name)
        certain, maybe = decision.result and not waits, decision.result and waits
        n_cached += bool(decision.result)
        n_old += before is not None and not decision.result
        seconds = 0.0 if certain else before.seconds if before else None
        if waits or not decision.result:
            open_ends |= {output: step.name for output in step.outputs}
        else:
            made |= {v.name: f"{v.name}:v{v.number}" for v in decision.result.outputs}
        least += 0.0 if decision.result else seconds or 0.0
        most, unknown = most + (seconds or 0.0), unknown or seconds is None
        shown.add_row(
            step.name,
            will,
            "\n".join(step.inputs),
            "\n".join(step.outputs),
            "?" if seconds is None else f"{'up to ' if maybe else ''}{seconds:.1f}",
        )
    span = f"{least:.1f} to {most:.1f}" if least < most else f"{most:.1f}"
    counts = f"to run: {len(steps) - n_cached}, cached: {n_cached}"
    if n_old:
        counts += f", earlier results that no longer count: {n_old}"
    known = [f"{span} s"] if most or not unknown else []
    expected = " and ".join([*known, *(["what is not known yet"] if unknown else [])])
    shown.caption = f"{counts}; expected: {expected}"
    return shown


def mermaid(steps: list[Step]) -> str:
    """Return the graph of steps and artifacts as Mermaid text, which GitHub and others draw."""
    lines = ["flowchart LR"]
    for step in steps:
        lines.append(f'    {step.name}["{step.name}"]')
    outputs = [output for step in steps for output in step.outputs]
    for artifact in dict.fromkeys(outputs):
        lines.append(f'    {_identifier(artifact)}(["{artifact}"])')
    for step in steps:
        for name in dict.fromkeys(map(_name, step.inputs)):
            lines.append(f"    {_identifier(name)} --> {step.name}")
        for output in step.outputs:
            lines.append(f"    {step.name} --> {_identifier(output)}")
    return "\n".join(lines) + "\n"


def _name(reference: str) -> str:
    return parse_reference(reference).name


def _identifier(artifact: str) -> str:
    return "artifact_" + "".join(c if c.isalnum() else "_" for c in artifact)
