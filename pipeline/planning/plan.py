"""The way of the data: which steps run, with which parameters, from and to which artifacts."""

from pipeline.planning.step import Step
from pipeline.settings.redacted import refuse_secrets
from pipeline.settings.schema import Settings, StepEntry
from pipeline.settings.surroundings import is_address
from util_lib.errors import UserError
from util_lib.redaction import redacted
from util_lib.tracking.names import Reference, parse_reference


def plan(settings: Settings) -> list[Step]:
    """List the steps to run, in running order. Pure: reads nothing but `settings`."""
    refuse_secrets(settings)
    names = settings.main.execute_steps
    steps = [_step(name, settings.steps[name], settings) for name in names]
    _refuse_two_makers(steps)
    _refuse_what_comes_too_late(steps)
    return steps


def gates(settings: Settings) -> list[Step]:
    """Return the gates of the pipeline, whether they run or not."""
    return [
        _step(name, entry, settings)
        for name, entry in settings.steps.items()
        if entry.gate and None not in entry.inputs.values()
    ]


def maker(settings: Settings, artifact: str) -> Step | None:
    """Return the step of the pipeline that makes an artifact, whether it runs or not."""
    for name, entry in settings.steps.items():
        if artifact in entry.outputs and None not in entry.inputs.values():
            return _step(name, entry, settings)
    return None


def _step(name: str, entry: StepEntry, settings: Settings) -> Step:
    for key, reference in entry.inputs.items():
        if reference is None:
            raise UserError(
                f"config: {name} needs the input {key}, and {entry.keys.get(key, 'it')} is null: "
                f"give it the name of an artifact, or leave {name} out of main.execute_steps"
            )
    if entry.sink and entry.parameters[entry.sink] is None:
        raise UserError(
            f"config: {name} writes to a database, and {entry.keys.get(entry.sink, 'it')} is null: "
            "set it to sqlite:///FILE, duckdb:///FILE or postgresql://HOST/NAME"
        )
    left_out = {key for key, given in entry.only_when.items() if not given}
    uri, version = _place(name, entry, settings)
    parameters = {**entry.inputs, **entry.parameters}
    return Step(
        name=name,
        parameters={k: _text(value) for k, value in parameters.items() if k not in left_out},
        inputs=tuple(v for k, v in entry.inputs.items() if v is not None and k not in left_out),
        outputs=tuple(name for name in entry.outputs if name and name not in left_out),
        uri=uri,
        files={
            file: {k: v for k, v in content.items() if f"{file}.{k}" not in left_out}
            for file, content in entry.files.items()
            if file not in left_out
        },
        version=version,
        may_be_absent=tuple(v for key in entry.may_be_absent if (v := entry.inputs[key])),
        source=entry.source if entry.source not in left_out else None,
        sink=entry.sink,
        gate=entry.gate,
        keys=entry.keys,
    )


def _place(name: str, entry: StepEntry, settings: Settings) -> tuple[str, str | None]:
    """Return the repository a step's code comes from: its own, the common one, or here."""
    folder = entry.folder or name
    uri, version, key = entry.uri, entry.version, f"steps.{name}"
    if not uri:
        repository = settings.main.components_repository
        if not repository:
            return folder, None
        # "url" means its top folder, "url#folder" a folder of it that holds the steps
        uri = f"{repository.rstrip('/')}{'/' if '#' in repository else '#'}{folder}"
        version, key = settings.main.components_version, "main.components"
    _refuse_no_place(uri, version, key)
    return uri, version


def _refuse_no_place(uri: str, version: str | None, key: str) -> None:
    """A step lies in a folder, or at an address that git fetches and runs nothing for."""
    if is_address(uri):
        if version and (version.startswith("-") or " " in version):
            raise UserError(
                f"config: {key}: version must be a tag, a branch or a full commit, "
                f"found {version!r}"
            )
        return
    if ":" in uri:
        raise UserError(
            f"config: {key}: {redacted(uri)!r} is neither a folder nor an address that "
            "steps are fetched from: write https://, ssh://, git:// or file://, or git@host:path"
        )
    if version:
        raise UserError(
            f"config: {key}: version {version!r} is set and {uri!r} is a folder, which is used as "
            "it is: leave version out, or write the git address of its repository"
        )


def _refuse_two_makers(steps: list[Step]) -> None:
    makers: dict[str, str] = {}
    for step in steps:
        for output in step.outputs:
            if output in makers:
                raise UserError(
                    f"config: steps {makers[output]} and {step.name} both make {output}: give one "
                    "of the outputs another name, or leave one step out of main.execute_steps"
                )
            makers[output] = step.name


def _refuse_what_comes_too_late(steps: list[Step]) -> None:
    """A step reads what steps before it make: a list in which it cannot is in a wrong order."""
    reads = {step.name: [parse_reference(text) for text in step.inputs] for step in steps}
    makes = {output: step.name for step in steps for output in step.outputs}
    order = [step.name for step in steps]
    for name in order:
        for reference in reads[name]:
            maker = makes.get(reference.name)
            if maker is None or reference.alias != "latest":
                continue
            if order.index(maker) < order.index(name):
                continue
            if circle := _way(maker, name, reads, makes):
                raise UserError(
                    f"config: the steps go round in a circle, each reading what the next makes: "
                    f"{' -> '.join([name, *circle])}"
                )
            raise UserError(
                f"config: step {name} reads {reference.name}, which {maker} makes after it: let "
                f"{maker} stand before {name} in the pipeline file"
            )


def _way(
    start: str,
    end: str,
    reads: dict[str, list[Reference]],
    makes: dict[str, str],
    seen: tuple[str, ...] = (),
) -> list[str]:
    """Return the steps from `start` to `end`, each reading what the next makes; empty for none."""
    if start == end:
        return [end]
    for reference in reads[start]:
        maker = makes.get(reference.name)
        if maker and reference.alias == "latest" and maker not in (*seen, start):
            if way := _way(maker, end, reads, makes, (*seen, start)):
                return [start, *way]
    return []


def _text(value: object) -> str:
    """Write a parameter as the steps read it: null, true and false as in YAML."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
