"""The pipeline at one of two commits: what ran, what came of it, what it cost."""

import time
from pathlib import Path
from typing import NamedTuple

from pipeline.caching import decision, fingerprint, record
from pipeline.caching.record import Result
from pipeline.receipts.reading import Receipt
from pipeline.running import run_elsewhere
from pipeline.running.run_elsewhere import Ended
from util_lib.tracking.names import Reference
from util_lib.tracking.store.database import Store


class Side(NamedTuple):
    """What came of the pipeline at one commit.

    `ran` names the steps that were not taken from the cache; `results` holds what is recorded of
    those that finished.
    """

    ended: Ended
    receipt: Receipt | None
    ran: list[str]
    results: dict[str, Result]
    seconds: float

    @property
    def failed(self) -> str | None:
        """Why the pipeline does not run; None where it does."""
        if self.ended.code == 0 and self.receipt:
            return None
        return self.ended.last_words or f"it ended with exit code {self.ended.code}"

    @property
    def steps(self) -> list[str]:
        """The steps that the run reached."""
        return [step.name for step in self.receipt.steps] if self.receipt else []

    def size(self, store: Store, name: str) -> int | None:
        """Return the bytes of what this side has as the artifact `name`."""
        for step in self.receipt.steps if self.receipt else []:
            if self.receipt and (made := step.outputs.get(name)):
                found = store.version(Reference(self.receipt.project, name, made.version))
                return found.size if found else None
        return None


def run(project: Path, home: Path, words: list[str], store: Store) -> Side:
    """Run the pipeline of the checkout `project` in `home`, or take it from the cache there."""
    known = {run.id for run in store.runs()}
    started = time.monotonic()
    ended, receipt = run_elsewhere.run(project, home, words, store)
    seconds = time.monotonic() - started
    new = {run.job_type for run in store.runs() if run.id not in known}
    results = {}
    for step in receipt.steps if receipt else []:
        result = record.last(store.directory, receipt.project if receipt else "", step.name)
        if result and step.ended == "finished":
            results[step.name] = result
    ran = [
        step.name
        for step in (receipt.steps if receipt else [])
        if step.name in new or step.ended != "finished"
    ]
    return Side(ended, receipt, ran, results, seconds)


def touched(before: Side, now: Side) -> dict[str, str]:
    """Return the steps on which something has an effect, and what it is, in words."""
    found = {}
    for name in now.steps:
        old, new = before.results.get(name), now.results.get(name)
        if new is None:
            found[name] = "did not finish"
        elif old is None:
            found[name] = "did not finish before" if name in before.steps else "is new"
        else:
            # What a gate compares with is absent at first, and then what it let pass: no change.
            parts = {
                key: new.parts.get(key, value) if value == decision.ABSENT else value
                for key, value in old.parts.items()
            }
            if parts != new.parts:
                found[name] = fingerprint.difference(parts, new.parts)
    return found


def forget_aliases(store: Store) -> set[Reference]:
    """Take every alias but `latest` off and return them: they are of another review's base."""
    forgotten = set()
    for version in store.all_versions():
        if own := {*version.aliases} - {"latest"}:
            store.update_version(version, set(), own, version.description, version.metadata)
            forgotten |= {Reference(version.project, version.name, alias) for alias in own}
    return forgotten


def keep_reference(store: Store, side: Side, forgotten: set[Reference]) -> None:
    """Let `forgotten` aliases lead to what `side` made, as if it had not been cached.

    A gate gives the data that it has let pass an alias, and compares the next ones with them.
    """
    for step in side.receipt.steps if side.receipt else []:
        for name, made in step.outputs.items():
            for wanted in forgotten:
                if side.receipt is None or wanted[:2] != (side.receipt.project, name):
                    continue
                version = store.version(wanted._replace(alias=made.version))
                if version and store.version(wanted) is None:
                    new = {wanted.alias}
                    store.update_version(version, new, set(), version.description, version.metadata)
