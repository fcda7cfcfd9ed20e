"""Which runs a MongoDB query means, as `wandb.Api().runs` takes it."""

import operator
import re
from collections.abc import Mapping
from typing import Any

from util_lib.errors import UserError
from util_lib.tracking.store import values
from util_lib.tracking.store.records import RunRecord
from util_lib.tracking.store.values import utc

COMPARISONS = {
    "$eq": operator.eq,
    "$ne": operator.ne,
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
    "$in": lambda found, wanted: found in wanted,
    "$nin": lambda found, wanted: found not in wanted,
    "$regex": lambda found, pattern: re.search(pattern, str(found)) is not None,
    "$exists": lambda found, wanted: (found is not None) == bool(wanted),
}


def _matches(record: RunRecord, filters: Mapping[str, Any]) -> bool:
    for key, wanted in filters.items():
        if key in ("$and", "$or", "$nor"):
            answers = [_matches(record, part) for part in wanted]
            matched = {"$and": all, "$or": any}.get(key, lambda a: not any(a))(answers)
        elif isinstance(wanted, Mapping) and any(name.startswith("$") for name in wanted):
            matched = all(_compare(_value(record, key), *item) for item in wanted.items())
        else:
            matched = _compare(_value(record, key), "$eq", wanted)
        if not matched:
            return False
    return True


def _compare(found: Any, name: str, wanted: Any) -> bool:
    if name == "$not":
        return not all(_compare(found, *item) for item in wanted.items())
    if name not in COMPARISONS:
        raise UserError(f"unknown operator {name!r} in filters; choose from {[*COMPARISONS]}")
    if isinstance(found, list) and not isinstance(wanted, list) and name in ("$eq", "$regex"):
        return any(COMPARISONS[name](item, wanted) for item in found)
    if isinstance(found, list) and name == "$in":
        return any(item in wanted for item in found)
    try:
        return COMPARISONS[name](found, wanted)
    except TypeError:  # such as None > 1: no answer is no match
        return False


def _value(record: RunRecord, key: str) -> Any:
    key = re.sub(r"(?<=[a-z])([A-Z])", r"_\1", key).lower() if "." not in key else key
    for prefix, items in (("config.", record.config), ("summary_metrics.", record.summary)):
        if key.startswith(prefix):
            name = key.removeprefix(prefix)
            return items.get(name, values.flatten(items).get(name))
    known = {
        "name": record.id,
        "display_name": record.name,
        "created_at": utc(record.started_at),
        "duration": (record.finished_at or record.started_at) - record.started_at,
        "host": record.environment.get("host"),
    }
    for column in ("state", "group", "job_type", "tags", "notes"):
        known[column] = getattr(record, column)
    if key not in known:
        raise UserError(
            f"unknown key {key!r} in filters or order; choose from {sorted(known)}, "
            "config.<key> or summary_metrics.<key>"
        )
    return known[key]


def _comparable(value: Any) -> bool:
    return value is not None and value == value  # NaN differs from itself
