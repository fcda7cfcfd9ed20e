"""Whether a step must run: its fingerprint, what is recorded under it, and why not if not."""

import hashlib
from typing import NamedTuple
from urllib.parse import urlsplit

from pipeline.caching import fingerprint
from pipeline.caching import record as cache
from pipeline.caching.record import Result
from pipeline.caching.version import Version
from pipeline.caching.versions import Versions
from pipeline.planning.step import Outcome, Step
from pipeline.settings import wandb_trial
from pipeline.settings.schema import Settings
from util_lib import cli, folders, partitions
from util_lib.buckets import remote
from util_lib.errors import UserError
from util_lib.safe_files import read_content
from util_lib.tables import large
from util_lib.tracking.names import parse_reference
from util_lib.urls import HIDDEN, is_bucket, is_database, whole_address, without_secrets

ABSENT = "absent"  # an input that no version has yet, such as the first reference
TIMEOUT_S = 10  # for a server to say whether its file has changed


class Decision(NamedTuple):
    """What is to be done with a step.

    `result` is what an earlier run made and can be used again; without one the step runs, and
    `reason` says why. `parts` is None where the fingerprint cannot be told. `inputs` maps each
    reference that the step reads to its version and digest, None where no version has it.
    """

    parts: dict[str, str] | None
    result: Result | None
    reason: str
    inputs: dict[str, dict[str, str] | None]


def decide(step: Step, settings: Settings, versions: Versions, made: dict[str, str]) -> Decision:
    """Compare a step with the record of earlier runs.

    `made` maps the artifacts that this pipeline run has made or reused so far to `name:vN`.
    """
    project = settings.main.project_name
    inputs = _inputs(step, project, versions, made)
    if step.sink:
        shown = without_secrets(step.parameters[step.sink])
        return Decision(
            None, None, f"it asks {shown} itself whether there is anything to do", inputs
        )
    try:
        data = source(step, step.source, settings) if step.source else ""
        parts = fingerprint.parts(step, settings, versions.place, _texts(inputs), data)
    except fingerprint.UnknownFingerprint as unknown:
        return Decision(None, None, str(unknown), inputs)
    if wandb_trial.variables(settings, step.name):
        return Decision(parts, None, "it is a trial of W&B's sweep, a run of its own", inputs)
    if not settings.main.cache:
        return Decision(parts, None, "main.cache is false", inputs)
    result = cache.find(versions.directory, fingerprint.digest(parts))
    if result is None:
        before = cache.last(versions.directory, project, step.name)
        reason = fingerprint.difference(before and before.parts, parts)
        return Decision(parts, None, reason, inputs)
    for output in result.outputs:
        if damage := versions.damage(project, output):
            said = f"output {output.name}:v{output.number}{damage}"
            return Decision(parts, None, said, inputs)
    return Decision(parts, result, "", inputs)


def way(step: Step, settings: Settings, versions: Versions, made: dict[str, str]) -> str:
    """Say whether a step takes its table whole or in batches; nothing where nobody knows yet.

    Known are the rows of tables that a step has written; those of a raw table its reader tells.
    """
    given = [step.parameters, *(file for file in step.files.values() if isinstance(file, dict))]
    limit = next((each["large_rows"] for each in given if "large_rows" in each), None)
    if limit is None or not step.inputs:
        return ""
    reference = next(r for r in step.inputs if r not in step.may_be_absent)
    made_here = made.get(reference.removesuffix(":latest"), reference)
    n_rows = versions.n_rows(made_here, settings.main.project_name)
    return f"; {large.way(n_rows, int(limit))}" if n_rows else ""


def has_passed(step: Step, settings: Settings, versions: Versions, made: dict[str, str]) -> bool:
    """Say whether a step has finished on what it would read now, with all that it depends on."""
    inputs = _inputs(step, settings.main.project_name, versions, made)
    try:
        data = source(step, step.source, settings) if step.source else ""
        parts = fingerprint.parts(step, settings, versions.place, _texts(inputs), data)
    except fingerprint.UnknownFingerprint:
        return False
    return cache.find(versions.directory, fingerprint.digest(parts)) is not None


def take(settings: Settings, versions: Versions, result: Result) -> dict[str, str] | None:
    """Make a result's outputs the latest ones, as logging them again would.

    Return their digests by `name:vN`, None where one was removed since `decide` looked.
    """
    cache.touch(versions.directory, result)
    for output in result.outputs:
        if not versions.make_latest(settings.main.project_name, output):
            return None
    return {f"{output.name}:v{output.number}": output.digest for output in result.outputs}


def record(
    step: Step,
    settings: Settings,
    versions: Versions,
    decision: Decision,
    made: dict[str, str],
    outcome: Outcome,
) -> None:
    """Keep what a finished step came to; `made` as it was for `decide`.

    Of its inputs, one that was absent is told as the next run will find it.
    """
    project = settings.main.project_name
    now = _inputs(step, project, versions, made)
    outcome.inputs = {name: found or now[name] for name, found in decision.inputs.items()}
    if not outcome.told:
        _ask_for_outputs(step, project, versions, outcome)
    if decision.parts is None or not outcome.told:
        return
    found = []
    for output in outcome.artifacts:
        name, _, number = output.rpartition(":v")
        found.append(Version(name, int(number), outcome.digests[output]))
    for parts in (decision.parts, _bootstrapped(_texts(now), decision.parts)):
        result = Result(
            fingerprint.digest(parts), parts, found, outcome.metrics, outcome.seconds or 0.0
        )
        cache.add(versions.directory, project, step.name, result)


def remember_verdict(
    step: Step, settings: Settings, versions: Versions, decision: Decision, why: str | None
) -> None:
    """Keep why a gate refused what it looked at, or with None that it let it pass."""
    looked_at = [
        f"{parse_reference(reference).name} {found['digest']}"
        for reference, found in decision.inputs.items()
        if found and reference not in step.may_be_absent
    ]
    project = settings.main.project_name
    cache.refuse(versions.directory, project, step.name, versions.place, looked_at, why)


def _ask_for_outputs(step: Step, project: str, versions: Versions, outcome: Outcome) -> None:
    """Take the newest versions of its outputs for what a step made that says nothing itself.

    A step that uses the client of W&B directly does not report to main.py.
    """
    found = [versions.find(f"{name}:latest", project) for name in step.outputs]
    for version in filter(None, found):
        name = f"{version.name}:v{version.number}"
        outcome.artifacts.append(name)
        outcome.digests[name] = version.digest
    outcome.told = bool(found) and None not in found


def _inputs(
    step: Step, project: str, versions: Versions, made: dict[str, str]
) -> dict[str, dict[str, str] | None]:
    found: dict[str, dict[str, str] | None] = {}
    for reference in step.inputs:
        name = reference.removesuffix(":latest")
        version = versions.find(made.get(name, reference), project)
        found[reference] = version and {"version": f"v{version.number}", "digest": version.digest}
    return found


def _texts(inputs: dict[str, dict[str, str] | None]) -> dict[str, str]:
    return {
        reference.removesuffix(":latest"): "{version} digest {digest}".format(**found)
        if found
        else ABSENT
        for reference, found in inputs.items()
    }


def _bootstrapped(inputs: dict[str, str], parts: dict[str, str]) -> dict[str, str]:
    """Return `parts` as the next run will find them.

    The first good data become the reference: an input that was absent is then the same version
    as another input. That changes nothing for the step.
    """
    inputs = {f"input {name}": version for name, version in inputs.items()}
    known = set(parts.values())
    return {
        name: inputs[name] if value == ABSENT and inputs.get(name) in known else value
        for name, value in parts.items()
    }


def source(step: Step, parameter: str, settings: Settings) -> str:
    """Identify what the step would download, without downloading it."""
    url, told = step.parameters[parameter], step.parameters.get("sha256", "null")
    if is_database(url):
        digest = _state_in_database(whole_address(url), step.parameters)
        return f"{without_secrets(url)} sha256 {digest}"
    if not is_bucket(url) and urlsplit(url).scheme not in ("http", "https"):
        path = folders.path_at(url)
        if path is None:
            raise fingerprint.UnknownFingerprint(f"{without_secrets(url)} names no file here")
        try:
            files = folders.files_at(url)
            if files is None:
                return f"{url} sha256 {read_content(path).sha256}"
            sha256 = folders.digest(partitions.of_files(files, _partitions(step)))
            return f"{url} sha256 {sha256}"
        except OSError as error:
            raise fingerprint.UnknownFingerprint(
                f"{path} cannot be read ({error.strerror})"
            ) from None
        except UserError as error:
            raise fingerprint.UnknownFingerprint(str(error)) from None
    if HIDDEN in url and settings.main.plan:
        raise fingerprint.UnknownFingerprint("the secrets of its address are not set here")
    if told != "null":
        digest = told.lower()
    else:
        digest = _state_in_bucket(url, step) if is_bucket(url) else _state_on_server(url)
    return f"{without_secrets(url)} sha256 {digest}"


def _partitions(step: Step) -> partitions.Parted:
    """Return which files of a folder a step takes: its own parameters say it."""
    by, window, until = (
        cli.optional(step.parameters.get(f"partition_{key}", ""))
        for key in partitions.Parted._fields
    )
    return partitions.Parted(by, int(window) if window else None, until)


def _state_in_database(address: str, parameters: dict[str, str]) -> str:
    """Ask the database what the version query says; the rows themselves are not read."""
    from util_lib.sql import connection

    shown, query = without_secrets(address), cli.optional(parameters.get("sql_version_query", ""))
    if query is None:
        raise fingerprint.UnknownFingerprint(
            f"nobody knows whether the rows in {shown} changed: data.sql.version_query can tell"
        )
    try:
        return hashlib.sha256(connection.version(address, query).encode()).hexdigest()
    except UserError as error:
        raise fingerprint.UnknownFingerprint(str(error)) from None


def _state_in_bucket(url: str, step: Step) -> str:
    """Ask the bucket for the ETags or dates of a file, or of those that a step takes of several."""
    address = whole_address(url)
    try:
        files = remote.files_in_bucket(address, TIMEOUT_S)
        if files is None:
            found = {without_secrets(url): remote.look(address, TIMEOUT_S)}
        else:
            taken = partitions.of_files(files, _partitions(step))
            found = {file.name: file.state for file in taken}
    except UserError as error:
        raise fingerprint.UnknownFingerprint(str(error)) from None
    lines = []
    for name, state in found.items():
        if not (said := state.etag or state.last_modified):
            raise fingerprint.UnknownFingerprint(f"{name} gives neither ETag nor date")
        lines += [name, said, str(state.size)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _state_on_server(url: str) -> str:
    """Ask the server for the file's ETag and date; without either nobody knows if it changed."""
    import requests  # most runs need not ask

    address = without_secrets(url)
    try:
        answer = requests.head(url, timeout=TIMEOUT_S, allow_redirects=True)
        answer.raise_for_status()
    except requests.RequestException:
        raise fingerprint.UnknownFingerprint(
            f"the server of {address} does not say what it has"
        ) from None
    said = [answer.headers.get(name, "") for name in ("ETag", "Last-Modified", "Content-Length")]
    if not any(said[:2]):
        raise fingerprint.UnknownFingerprint(f"the server of {address} gives neither ETag nor date")
    return hashlib.sha256("\n".join([url, *said]).encode()).hexdigest()
