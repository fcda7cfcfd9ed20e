"""A step as it will run, and how it ended."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Step:
    """One step as it will run.

    `parameters` are what MLflow passes on, as text. A value of `files` is a mapping that is
    written to a YAML file whose path becomes the parameter of that name. `inputs` are artifact
    references (`name:alias`), `outputs` artifact names.

    `may_be_absent` are those of the inputs that the step can do without. `source` names the
    parameter that is an address whose content counts, `sink` one that is a database to which the
    step writes: it always runs. What comes after a `gate` waits for it.
    `keys` maps parameters, and `file.key`, to the keys of the configuration that they come from.
    `entry_point` is that of its MLproject.
    """

    name: str
    parameters: dict[str, str]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    uri: str
    files: dict[str, Any] = field(default_factory=dict)
    version: str | None = None
    may_be_absent: tuple[str, ...] = ()
    source: str | None = None
    sink: str | None = None
    gate: bool = False
    keys: dict[str, str] = field(default_factory=dict)
    entry_point: str = "main"

    @property
    def address(self) -> str | None:
        """The parameter that may hold secrets."""
        return self.source or self.sink


@dataclass
class Outcome:
    """How one step ended: done, cached, failed, stopped or not run; artifacts are `name:vN`.

    `inputs` maps each reference that the step reads to its version and digest, None where no
    version had it. `digests` are those of what the step made and read, by `name:vN`. `told` is
    false where nobody knows what the step made: its run on W&B did not report to main.py.
    """

    step: str
    outcome: str = "not run"
    seconds: float | None = None
    artifacts: list[str] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    inputs: dict[str, dict[str, str] | None] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    told: bool = True
