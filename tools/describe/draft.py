"""Writes the draft: what a dataset file says of a table, with comments on every guess."""

import re
import textwrap
from collections.abc import Iterable
from typing import Any, NamedTuple

import pandas as pd
import yaml

from tools.describe import target as targets
from tools.describe.columns import FEWEST_VALUES, Proposal, propose
from tools.describe.sniff import Sniffed
from tools.describe.target import TargetGuess
from util_lib import validation
from util_lib.checks import leakage
from util_lib.checks.findings import Finding
from util_lib.dataset.declaration import Csv, Data
from util_lib.errors import UserError
from util_lib.tables import cleaning

LINE = 100  # characters, then lists get a line for each entry
PLAIN_WORD = re.compile(r"[A-Za-z_]\w*([ -]\w+)*", re.ASCII)

HEAD = """\
# @package _global_
# Drafted from {shown}: {n_rows:,} rows, {n_columns:,} columns.
# Every line is a guess from the values: read it, correct it. What each key does is said in
# docs/datasets.md.
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
    csv: Sniffed | None
    secret: str | None = None


class Draft(NamedTuple):
    """The text of the dataset file, what it declares, the target, and what may give it away."""

    text: str
    data: Data
    target: TargetGuess
    suspects: list[Finding]


def make(frame: pd.DataFrame, source: Source, name: str, asked_target: str | None) -> Draft:
    """Return the draft for the table `frame`; `UserError` where no model could be made of it."""
    renamed = _better_names(list(frame.columns)) if _has_header(source) else {}
    table = frame.rename(columns=renamed)
    if table.shape[1] < 2:
        raise UserError(
            f"{source.shown} has one column, {table.columns[0]!r}: expected a target and at least "
            "one feature; if its lines hold several fields, their separator could not be told"
        )
    columns: Iterable[tuple[Any, pd.Series]] = table.items()
    proposals: dict[str, Proposal] = {name: propose(name, values) for name, values in columns}
    out = [name for name, proposal in proposals.items() if not proposal.keys]
    if asked_target is not None:
        asked_target = renamed.get(asked_target, asked_target)
    if asked_target not in out:
        table = table.drop(columns=out).drop_duplicates(ignore_index=True)
    if len(out) == len(proposals) or len(table) < FEWEST_VALUES:
        found = f"{len(table)} rows that differ" if len(out) < len(proposals) else "no usable value"
        raise UserError(
            f"{source.shown} has {found}: expected at least {FEWEST_VALUES} rows to train, "
            "validate and test with"
        )
    target = targets.choose(table, proposals, asked_target)
    proposals[target.name] = _of_target(table[target.name], target)
    proposals |= _kept_for_their_place(source, frame, out)
    features = [n for n, p in proposals.items() if p.role not in ("", "ignore", "target")]
    if not features:
        reasons = "; ".join(f"{n!r}: {p.comment}" for n, p in proposals.items() if p.comment)
        raise UserError(f"{source.shown} has no column that could be a feature ({reasons})")
    text = _text(frame, source, name, proposals, renamed, target, [])
    data = validation.check(Data, yaml.safe_load(text)["data"], "the draft")
    if suspects := leakage.find(cleaning.clean(frame, data), data):
        text = _text(frame, source, name, proposals, renamed, target, suspects)
    return Draft(text, data, target, suspects)


def _has_header(source: Source) -> bool:
    return source.csv is None or source.csv.options.header


def _better_names(names: list[str]) -> dict[str, str]:
    """Return new names for those with blanks around them or a `${`, which Hydra would resolve."""
    better = {name: re.sub(r"\$\{", "{", name.strip()) for name in names}
    taken = [better[name] for name in names]
    return {old: new for old, new in better.items() if new and old != new and taken.count(new) == 1}


def _of_target(values: pd.Series, target: TargetGuess) -> Proposal:
    keys = {**propose(target.name, values).keys, "role": "target"}
    for key in ("nullable", "max_null_rate", "unique", "encoding"):
        keys.pop(key, None)
    if target.task == "classification":
        keys.pop("min", None)
        keys.pop("max", None)
        if keys["dtype"] != "bool":
            keys["allowed"] = target.classes
        return Proposal(keys)
    limits = propose("", values.astype("float64")).keys
    return Proposal({**keys, "min": limits["min"], "max": limits["max"]})


def _kept_for_their_place(
    source: Source, frame: pd.DataFrame, out: list[str]
) -> dict[str, Proposal]:
    """Declare the columns that were to be left out, where only their place tells columns apart."""
    if _has_header(source):
        return {}
    kept = {}
    for name in out:
        if frame[name].notna().any():
            raise UserError(
                f"{source.shown}: column {name!r} holds infinite values and cannot be left out of "
                "a file without header: give the file a header, or correct the values"
            )
        keys = {"dtype": "float", "role": "ignore", "nullable": True}
        kept[name] = Proposal(keys, "no value in any row")
    return kept


def _text(
    frame: pd.DataFrame,
    source: Source,
    name: str,
    proposals: dict[str, Proposal],
    renamed: dict[str, str],
    target: TargetGuess,
    suspects: list[Finding],
) -> str:
    lines = [f"  {line}" for line in _location(source)]
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
    lines += _cleaning(frame, proposals, renamed, target)
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
        columns += _column(column, proposal) if proposal.keys else []
    return (
        head + "\n".join(lines) + "\n" + ABOUT_COLUMNS + "  columns:\n" + "\n".join(columns) + "\n"
    )


def _warnings(indent: str, suspects: list[Finding]) -> list[str]:
    """Return comments on what may give the target away."""
    lines = []
    for suspect in suspects:
        words = f"Leak? {_comment(suspect.message)}"
        mark = f"{indent}# "
        lines += textwrap.wrap(words, LINE, initial_indent=mark, subsequent_indent=mark)
    return lines


def _location(source: Source) -> list[str]:
    if source.secret:
        lines = [
            f"# {_comment(source.shown)}: the address holds a secret, so it comes from the",
            f"# environment: export {source.secret}='the whole address' before you run.",
            f"file_url: ${{oc.env:{source.secret}}}",
        ]
    else:
        lines = [f"file_url: {scalar(source.file_url)}"]
    lines.append(f"sha256: {scalar(source.sha256)} # another content is refused; null: not checked")
    lines.append(f"format: {'csv' if source.csv else 'parquet'}")
    if source.csv:
        lines += [f"# {_comment(reason)}" for reason in source.csv.reasons]
        usual = Csv().model_dump()
        given = source.csv.options.model_dump()
        if other := {key: value for key, value in given.items() if value != usual[key]}:
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
    if target.rare:
        rare = ", ".join(map(repr, target.rare[:5])) + (", ..." if len(target.rare) > 5 else "")
        lines.append(
            f"    # dropped for having fewer than {targets.FEWEST_ROWS} rows: {_comment(rare)}"
        )
        lines.append(f"    keep_rows: {flow({target.name: {'allowed': target.classes}})}")
    elif frame.rename(columns=renamed)[target.name].isna().any():
        lines.append(f"    drop_nulls: {flow([target.name])} # nothing to learn from these rows")
    out = {n: p.comment for n, p in proposals.items() if not p.keys}
    if out:
        lines += [f"    # {_comment(repr(n))}: {_comment(why)}" for n, why in out.items()]
        lines.append(f"    drop_columns: {flow(list(out))}")
    return ["  clean:", *lines] if lines else []


def _column(name: str, proposal: Proposal) -> list[str]:
    comment = f" # {_comment(proposal.comment)}" if proposal.comment else ""
    line = f"    {scalar(name)}: {flow(proposal.keys)}"
    if len(line) <= LINE or not isinstance(allowed := proposal.keys.get("allowed"), list):
        return [line + comment]
    keys = [f"      {k}: {scalar(v)}" for k, v in proposal.keys.items() if k != "allowed"]
    return [f"    {scalar(name)}:{comment}", *keys, *_listed("allowed", allowed)]


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
