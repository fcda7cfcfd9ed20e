"""What the trials of a sweep have in common: data, settings and code, all but the swept values.

Scores compare only among trials that answer the same question; those of the same name that do not
are listed apart (`record.Trial.question`).
"""

from pipeline.caching import fingerprint
from pipeline.caching.fingerprint import UnknownFingerprint
from pipeline.planning.step import Step
from pipeline.settings.schema import Settings


def parts(
    keys: list[str], settings: Settings, steps: list[Step], versions: dict[str, str]
) -> dict[str, str]:
    """Return what every trial depends on, beside the swept `keys`.

    `steps` are those that may differ from trial to trial, the training step last; `versions` are
    the artifacts, by name, of the steps before them.
    """
    found = {"sweep.cv": str(settings.sweep.cv)}
    for step in steps:
        inputs = {
            name: versions[name]
            for name in (reference.removesuffix(":latest") for reference in step.inputs)
            if name in versions
        }
        try:
            found |= fingerprint.parts(step, settings, "", inputs, "")
        except UnknownFingerprint:  # a step of another repository that does not answer
            found[step.name] = f"{step.uri} {step.version}"
    return {name: text for name, text in found.items() if not _is_swept(name, keys)}


def of_no_setting(found: dict[str, str]) -> dict[str, str]:
    """Return those of the `parts` that no configuration shows: data, code, environment."""
    return {
        name: text[:40]
        for name, text in found.items()
        if name.startswith("input ") or "/" in name or name in ("machine", "python", "packages")
    }


def _is_swept(name: str, keys: list[str]) -> bool:
    return any(name == key or name.startswith(f"{key}.") for key in keys)
