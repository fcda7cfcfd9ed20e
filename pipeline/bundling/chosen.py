"""Which versions a bundle takes out of the store, and the data that their runs read."""

from pathlib import Path
from typing import NamedTuple

from pipeline.housekeeping.unneeded import named_by
from pipeline.receipts import reading, writing
from pipeline.receipts.reading import Receipt
from util_lib.errors import UserError
from util_lib.project import ROOT, resolve_path
from util_lib.redaction import redacted
from util_lib.tracking.names import Reference, parse_reference
from util_lib.tracking.store.database import Store
from util_lib.tracking.store.records import VersionRecord

NONE = "none"
PROD = "prod"
ELSEWHERE = "bundled_data"  # in the checkout: files from outside it


class Chosen(NamedTuple):
    """What goes along: versions of the store, receipts among them, and files by their place."""

    versions: list[VersionRecord]
    receipts: dict[str, Receipt]
    data: dict[str, Path]
    lacking: list[str]


def choose(store: Store, asked: str) -> Chosen:
    """Return the versions that `asked` names (empty = all that are prod) and what made them.

    To a version belongs the newest receipt that tells how it was made, and all that this names.
    """
    everything = store.all_versions()
    by_name = {Reference(v.project, v.name, f"v{v.number}"): v for v in everything}
    if asked:
        wanted = [_named(store, word.strip()) for word in asked.split(",")]
    else:
        wanted = [version for version in everything if PROD in version.aliases]
    if not wanted:
        raise UserError(
            f"no version in {store.directory} has the alias {PROD}: promote one, name what the "
            "bundle is to hold by artifacts=project/name:alias,..., or give artifacts=none"
        )
    found = {version.id: version for version in wanted}
    receipts: dict[str, Receipt] = {}
    newest_first = sorted(
        (v for v in everything if v.type == writing.NAME), key=lambda version: -version.id
    )
    for version in wanted:
        its_name = Reference(version.project, version.name, f"v{version.number}")
        for receipt in newest_first:
            made, read = named_by(store, receipt) or (set(), set())
            if its_name in made or receipt.id == version.id:
                receipts[receipt.reference] = reading.find_in(store, receipt)
                among = [by_name[name] for name in made | read if name in by_name]
                found |= {one.id: one for one in (receipt, *among)}
                break
    for version in found.values():
        if damage := store.damage(version):
            raise UserError(f"{version.reference}: {damage[0]}; a bundle holds only what is whole")
    data, lacking = _data(receipts)
    return Chosen(sorted(found.values(), key=lambda one: one.id), receipts, data, lacking)


def _named(store: Store, text: str) -> VersionRecord:
    reference = parse_reference(text)
    version = store.version(reference)
    if version is None:
        raise store.missing(reference)
    return version


def _data(receipts: dict[str, Receipt]) -> tuple[dict[str, Path], list[str]]:
    """Return the files that were read as raw data and git does not have, and what else was read."""
    data: dict[str, Path] = {}
    lacking = []
    for name, receipt in receipts.items():
        text = receipt.config["data"]["file_url"]
        path = resolve_path(text)
        if "://" in text or not path.exists():
            lacking.append(
                f"{name} read {redacted(text)}, which the bundle does not hold: it can be "
                "reproduced with file_url=<a copy of it>"
            )
            continue
        inside = path.relative_to(ROOT) if path.is_relative_to(ROOT) else None
        place = inside.as_posix() if inside else f"{ELSEWHERE}/{path.name}"
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                name_there = file.relative_to(path).as_posix() if file != path else ""
                data[f"{place}/{name_there}".removesuffix("/")] = file
    return data, lacking
