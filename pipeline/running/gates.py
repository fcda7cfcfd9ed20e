"""What a run takes of earlier ones: never what a gate has refused, nothing else without a word."""

from pipeline.caching import decision, fingerprint, record
from pipeline.caching.version import Version
from pipeline.caching.versions import Versions
from pipeline.planning.plan import gates, maker
from pipeline.planning.step import Step
from pipeline.settings.schema import Settings
from util_lib.errors import UserError
from util_lib.tracking.names import parse_reference


def ask_gates(settings: Settings, steps: list[Step], versions: Versions) -> list[str]:
    """Return what is to be said of tables that `steps` take past a gate which does not run.

    A table that passed by today's declaration is taken without a word, one that nobody has checked
    with a line. One that the gate refused when it last looked is a `UserError`, unless
    `main.allow_unchecked`.
    """
    running, order = {step.name for step in steps}, [*settings.steps]
    made = {name for step in steps for name in step.outputs}
    said = []
    for gate in gates(settings):
        if gate.name in running:
            continue
        after = order[order.index(gate.name) :]
        looked_at = {
            parse_reference(reference).name
            for reference in gate.inputs
            if reference not in gate.may_be_absent
        }
        for step in steps:
            if step.name not in after:
                continue
            for reference in step.inputs:
                name = parse_reference(reference).name
                if name in looked_at and name not in made:
                    said += _verdict(settings, gate, step, reference, versions)
    return list(dict.fromkeys(said))


def _verdict(
    settings: Settings, gate: Step, step: Step, reference: str, versions: Versions
) -> list[str]:
    project = settings.main.project_name
    version = versions.find(reference, project)
    if version is None:
        return []
    name = f"{version.name}:v{version.number}"
    if decision.has_passed(gate, settings, versions, {version.name: name}):
        return []
    given = f"{version.name} {version.digest}"
    why = record.refusal(versions.directory, project, gate.name, versions.place, given)
    if why is None:
        return [f"{step.name} takes {name}, which {gate.name} has not checked as declared now"]
    if not settings.main.allow_unchecked:
        why = why.removeprefix(f"step {gate.name} failed: ")
        raise UserError(
            f"{step.name} would take {name}, which {gate.name} refused ({why}): correct the data "
            f"or the declaration and add {gate.name} to main.execute_steps, or set "
            "main.allow_unchecked=true, which the receipt will tell"
        )
    return [f"{step.name} takes {name} although {gate.name} refused it: main.allow_unchecked"]


def ask_makers(settings: Settings, steps: list[Step], versions: Versions) -> list[str]:
    """Return what is to be said of inputs that an earlier run made, by other settings than now.

    Where nobody knows by which, nothing is said: a version that came from elsewhere, for example.
    """
    project = settings.main.project_name
    made, said = {name for step in steps for name in step.outputs}, []
    for step in steps:
        for reference in step.inputs:
            name = parse_reference(reference).name
            made_by = None if name in made else maker(settings, name)
            version = versions.find(reference, project) if made_by else None
            if made_by is None or version is None:
                continue
            output = Version(version.name, version.number, version.digest)
            now = fingerprint.settings_of(made_by)
            known = record.that_made(versions.directory, project, made_by.name, output)
            known = [{key: parts.get(key, "") for key in now} for parts in known]
            if known and now not in known:
                why = fingerprint.difference(known[0], now)
                said.append(
                    f"{step.name} takes {name}:v{version.number}, which {made_by.name} made with "
                    f"other settings ({why}): add {made_by.name} to main.execute_steps for today's"
                )
    return list(dict.fromkeys(said))
