"""Writes the draft: what a dataset file says of a table, with comments on every guess."""

import re
import textwrap
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import yaml

from tools.describe import repeats as repeated
from tools.describe import target as targets
from tools.describe.columns import FEWEST_VALUES, Proposal, asks, propose
from tools.describe.repeats import Repeats
from tools.describe.table_files import Table
from tools.describe.target import TargetGuess
from util_lib import validation
from util_lib.checks import leakage
from util_lib.checks.findings import Finding
from util_lib.checks.leakage_splits import DECLARE, SPLIT
from util_lib.dataset.declaration import Csv, Data
from util_lib.dataset.repeats import Duplicates
from util_lib.errors import UserError
from util_lib.tables import cleaning

# What a row may hold that is kept where others are infinite.
FINITE = {"min": -1e300, "max": 1e300, "nullable": True}
MORE_REPEATS = 0.05  # than now, as a share of the rows, which check_data lets pass
LINE = 100  # characters, then lists get a line for each entry
PLAIN_WORD = re.compile(r"[A-Za-z_]\w*([ -]\w+)*", re.ASCII)

HEAD = """\
# @package _global_
# Drafted from {shown}: {n_rows:,} rows, {n_columns:,} columns.
# Every line is a guess from the values: read it, correct it. What each key does is said in
# docs/datasets.md. Rows are counted from 0.
main:
  project_name: {name}

data:
"""
ABOUT_COLUMNS = """\
  # The model gets its features in this order. A value outside min and max stops check_data: they
  # are the smallest and largest value found, with a tenth of the span between them added on both
  # sides (none beyond 0 where no value is), but for codes, which are as found. max_null_rate is
  # half as much again as is missing now, and 5 % of the rows.
  # Units are unknown: write unit: ... where you know them, and the limits that they suggest.
"""


class Source(NamedTuple):
    """Where the table came from; `secret` names the variable that is to hold its whole address."""

    file_url: str
    shown: str
    sha256: str
    secret: str | None = None


class Draft(NamedTuple):
    """The text of the dataset file, what it declares, the target, and what may give it away.

    `asked` are the columns about which the draft asks something.
    """

    text: str
    data: Data
    target: TargetGuess
    suspects: list[Finding]
    asked: list[str]


def make(given: Table, source: Source, name: str, asked_target: str | None) -> Draft:
    """Return the draft for a table; `UserError` where no model could be made of it."""
    frame = given.frame
    renamed = _better_names(list(frame.columns)) if given.named else {}
    table = frame.rename(columns=renamed)
    if table.shape[1] < 2:
        raise UserError(
            f"{source.shown} has one column, {table.columns[0]!r}: expected a target and at least "
            "one feature; if its lines hold several fields, their separator could not be told"
        )
    old = {new: name for name, new in renamed.items()}
    proposals = {
        column: propose(
            column, table[column], given.readings.get(old.get(column, column)), given.csv
        )
        for column in map(str, table.columns)
    }
    out = [name for name, proposal in proposals.items() if not proposal.keys]
    n_different = len(table.drop(columns=out).drop_duplicates()) if len(out) < len(proposals) else 0
    if n_different < FEWEST_VALUES:
        found = f"{n_different} rows that differ" if n_different else "no usable value"
        raise UserError(
            f"{source.shown} has {found}: expected at least {FEWEST_VALUES} rows to train, "
            "validate and test with"
        )
    for column, proposal in proposals.items():
        if proposal.keys.get("dtype") == "string" and pd.api.types.is_integer_dtype(table[column]):
            table[column] = table[column].astype("string").astype("str")
    if asked_target is not None:
        asked_target = renamed.get(asked_target, asked_target)
    usable = table.drop(columns=[column for column in out if column != asked_target])
    target = targets.choose(usable, proposals, asked_target)
    proposals[target.name] = _of_target(table[target.name], target, proposals[target.name])
    proposals |= _kept_for_their_place(given, source, out)
    features = [n for n, p in proposals.items() if p.role not in ("", "ignore", "target")]
    if not features:
        reasons = "; ".join(f"{n!r}: {p.comment}" for n, p in proposals.items() if p.comment)
        raise UserError(f"{source.shown} has no column that could be a feature ({reasons})")
    repeats = repeated.judge(usable, proposals, target)
    written = partial(_text, given, source, name, proposals, renamed, target, repeats)
    data = _declared(written([], []))
    clean = cleaning.clean(table.rename(columns=old), data)
    suspects = leakage.find(clean, data)
    if splits := [one for one in suspects if one.rule == SPLIT]:
        data = _declared(written(splits, []))
        suspects = [one for one in leakage.find(clean, data) if one.rule != SPLIT]
    text = written(splits, suspects)
    asked = [column for column, proposal in proposals.items() if asks(proposal)]
    return Draft(text, data, target, suspects, asked)


def _declared(text: str) -> Data:
    return validation.check(Data, yaml.safe_load(text)["data"], "the draft")


def _better_names(names: list[str]) -> dict[str, str]:
    """Return new names for those with blanks around them or a `${`, which Hydra would resolve."""
    better = {name: re.sub(r"\$\{", "{", name.strip()) for name in names}
    taken = [better[name] for name in names]
    return {old: new for old, new in better.items() if new and old != new and taken.count(new) == 1}


def _of_target(values: pd.Series, target: TargetGuess, proposal: Proposal) -> Proposal:
    """Declare the target; what was taken for a missing value in it is said beside it."""
    keys = {**proposal.keys, "role": "target"} if proposal.keys else {}
    keys = keys or {**propose(target.name, values).keys, "role": "target"}
    for key in ("nullable", "max_null_rate", "unique", "encoding"):
        keys.pop(key, None)
    if target.task == "classification":
        keys.pop("min", None)
        keys.pop("max", None)
        if keys["dtype"] != "bool":
            keys["allowed"] = target.classes
        return proposal._replace(keys=keys, comment="")
    keys.pop("allowed", None)
    finite = values.astype("float64").replace([np.inf, -np.inf], np.nan)
    limits = propose("", finite).keys
    return proposal._replace(keys={**keys, "min": limits["min"], "max": limits["max"]}, comment="")


def _kept_for_their_place(given: Table, source: Source, out: list[str]) -> dict[str, Proposal]:
    """Declare the columns that were to be left out, where only their place tells columns apart."""
    if given.named:
        return {}
    kept = {}
    for name in out:
        if given.frame[name].notna().any():
            raise UserError(
                f"{source.shown}: column {name!r} holds infinite values and cannot be left out of "
                "a file without header: give the file a header, or correct the values"
            )
        keys = {"dtype": "float", "role": "ignore", "nullable": True}
        kept[name] = Proposal(keys, "no value in any row")
    return kept


def _text(
    given: Table,
    source: Source,
    name: str,
    proposals: dict[str, Proposal],
    renamed: dict[str, str],
    target: TargetGuess,
    repeats: Repeats,
    splits: list[Finding],
    suspects: list[Finding],
) -> str:
    frame = given.frame
    lines = [f"  {line}" for line in _location(source, given)]
    lines += _warnings("  ", [s for s in suspects if s.column not in proposals])
    lines.append(f"  target: {scalar(target.name)} # {_comment(target.why)}")
    lines.append(f"  task: {target.task} # {target.about_task}")
    if target.stratify:
        lines.append(
            f"  stratify: {scalar(target.name)} # each class keeps its share in every part"
        )
    else:
        few = "too few rows for all classes in each part" if target.classes else "a number has none"
        lines.append(f"  stratify: null # {few}")
    lines += _split(frame.rename(columns=renamed), proposals, splits)
    lines += _cleaning(frame, proposals, renamed, target)
    lines += _wrapped("  ", repeats.why)
    lines.append(f"  {_repeats(repeats, proposals)}")
    texts = [n for n, proposal in proposals.items() if proposal.role == "text"]
    if texts:
        free = next(n for n in _numbered("text_feature") if n not in proposals)
        joined = flow({"name": free, "columns": texts})
        lines.append(f"  text_feature: {joined} # joined with one space")
    head = HEAD.format(
        shown=_comment(source.shown), n_rows=len(frame), n_columns=frame.shape[1], name=scalar(name)
    )
    columns = []
    for column, proposal in proposals.items():
        columns += _warnings("    ", [s for s in suspects if s.column == column])
        if proposal.keys:
            columns += [line for note in proposal.notes for line in _wrapped("    ", note)]
            columns += _column(column, proposal)
    return (
        head + "\n".join(lines) + "\n" + ABOUT_COLUMNS + "  columns:\n" + "\n".join(columns) + "\n"
    )


def _split(table: pd.DataFrame, proposals: dict[str, Proposal], splits: list[Finding]) -> list[str]:
    """Propose by what rows are divided; a column without a value in every row cannot do it."""
    reasons = [one.message.partition(DECLARE)[0] for one in splits]
    lines = [line for reason in reasons for line in _wrapped("  ", reason)]
    for name in (str(one.column) for one in splits):
        if table[name].notna().all():
            by = "time" if proposals[name].keys["dtype"] == "datetime" else "group"
            return [*lines, f"  split: {flow({'by': by, 'column': name})}"]
    return [*lines, "  # A split needs a value in every row."] if lines else []


def _repeats(repeats: Repeats, proposals: dict[str, Proposal]) -> str:
    """Say which rows are dropped as repeats: of many the draft allows as many and some more."""
    keys: dict[str, Any] = {}
    if repeats.drop and not all(proposal.keys for proposal in proposals.values()):
        keys["columns"] = [name for name, proposal in proposals.items() if proposal.keys]
    if repeats.share > Duplicates().max_share:
        keys["max_share"] = min(1.0, round(repeats.share + MORE_REPEATS, 2))
    return f"duplicates: {flow(keys)}" if keys else f"drop_duplicates: {scalar(repeats.drop)}"


def _warnings(indent: str, suspects: list[Finding]) -> list[str]:
    """Return comments on what may give the target away."""
    return [ln for suspect in suspects for ln in _wrapped(indent, f"Leak? {suspect.message}")]


def _wrapped(indent: str, words: str, width: int = LINE) -> list[str]:
    mark = f"{indent}# "
    return textwrap.wrap(
        _comment(words), width, initial_indent=mark, subsequent_indent=mark, break_on_hyphens=False
    )


def _location(source: Source, given: Table) -> list[str]:
    if source.secret:
        lines = [
            f"# {_comment(source.shown)}: the address holds a secret, so it comes from the",
            f"# environment: export {source.secret}='the whole address' before you run.",
            f"file_url: ${{oc.env:{source.secret}}}",
        ]
    else:
        lines = [f"file_url: {scalar(source.file_url)}"]
    lines.append(f"sha256: {scalar(source.sha256)} # another content is refused; null: not checked")
    lines.append(f"format: {given.format}")
    if given.sheet:
        lines.append(f"sheet: {scalar(given.sheet)}")
    if given.csv:
        lines += [line for reason in given.reasons for line in _wrapped("", reason, LINE - 2)]
        usual = Csv().model_dump()
        form = given.csv.model_dump()
        if other := {key: value for key, value in form.items() if value != usual[key]}:
            lines.append(f"csv: {flow(other)}")
    return lines


def _cleaning(
    frame: pd.DataFrame,
    proposals: dict[str, Proposal],
    renamed: dict[str, str],
    target: TargetGuess,
) -> list[str]:
    """Return the lines of `clean`; none where the table needs none."""
    lines = []
    if renamed:
        lines.append(f"    rename: {flow(renamed)}")
    keep: dict[str, dict[str, Any]] = {
        name: {**FINITE} for name, proposal in proposals.items() if proposal.infinite
    }
    if target.rare:
        rare = ", ".join(map(repr, target.rare[:5])) + (", ..." if len(target.rare) > 5 else "")
        lines.append(
            f"    # dropped for having fewer than {targets.FEWEST_ROWS} rows: {_comment(rare)}"
        )
        keep[target.name] = {"allowed": target.classes}
    if infinite := [name for name, proposal in proposals.items() if proposal.infinite]:
        names = ", ".join(map(repr, infinite))
        lines += _wrapped("    ", f"rows with an infinite value are left out: {names}")
    if keep:
        lines.append(f"    keep_rows: {flow(keep)}")
    if not target.rare and frame.rename(columns=renamed)[target.name].isna().any():
        lines.append(f"    drop_nulls: {flow([target.name])} # nothing to learn from these rows")
    out = {n: p.comment for n, p in proposals.items() if not p.keys}
    if out:
        lines += [f"    # {_comment(repr(n))}: {_comment(why)}" for n, why in out.items()]
        lines.append(f"    drop_columns: {flow(list(out))}")
    return ["  clean:", *lines] if lines else []


def _column(name: str, proposal: Proposal) -> list[str]:
    comment = f" # {_comment(proposal.comment)}" if proposal.comment else ""
    line = f"    {scalar(name)}: {flow(proposal.keys)}"
    if len(line) <= LINE:
        return [line + comment]
    lines = [f"    {scalar(name)}:{comment}"]
    for key, value in proposal.keys.items():
        lines += _listed(key, value) if key == "allowed" else [f"      {key}: {flow(value)}"]
    return lines


def _listed(key: str, values: list[Any]) -> list[str]:
    """Write a list over as many lines as it needs."""
    lines = [f"      {key}: ["]
    for number, value in enumerate(values):
        entry = scalar(value) + ("," if number + 1 < len(values) else "]")
        if len(lines[-1]) + len(entry) >= LINE:
            lines.append("       ")
        lines[-1] += f" {entry}" if number else entry
    return lines


def flow(value: Any) -> str:
    """Write a mapping, list or scalar as YAML on one line."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{scalar(k)}: {flow(v)}' for k, v in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(flow, value))}]"
    return scalar(value)


def scalar(value: Any) -> str:
    """Write one value as YAML and OmegaConf both read it: text that might be more is quoted."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        text = repr(value)
        return text.replace("e", ".0e") if "e" in text and "." not in text else text
    if PLAIN_WORD.fullmatch(value) and yaml.safe_load(value) == value and value not in "yYnN":
        return value
    quoted = yaml.safe_dump(value, default_style='"', allow_unicode=True, width=10**9)
    return quoted.strip()


def _comment(text: str) -> str:
    """Return `text` fit for a comment: on one line, and printable."""
    return "".join(char if char.isprintable() else " " for char in text)


def _numbered(word: str) -> Any:
    yield word
    yield from (f"{word}_{number}" for number in range(2, 10_000))
