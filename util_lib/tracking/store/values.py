"""Values as they are stored: JSON, with NaN and the infinities."""

import argparse
import datetime
import enum
import json
import math
import os
from collections.abc import Mapping, Sequence, Set
from typing import Any

from util_lib.errors import UserValueError
from util_lib.tracking.names import MAX_METADATA_KEYS


def plain(value: Any) -> Any:
    """Return `value` made of dicts, lists, strings, numbers, booleans and None only.

    numpy, pandas and torch values are known by their `tolist`; what has no counterpart becomes
    its `str`.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, enum.Enum):
        return plain(value.value)
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, argparse.Namespace):
        return plain(vars(value))
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, Set):
        return sorted((plain(item) for item in value), key=str)
    if isinstance(value, Sequence):
        return [plain(item) for item in value]
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(type(value), "__dataclass_fields__"):
        return {field: plain(getattr(value, field)) for field in value.__dataclass_fields__}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return str(value)


def dumps(value: Any) -> str:
    """Return `plain(value)` as JSON text."""
    return json.dumps(plain(value), ensure_ascii=False)


def loads(text: str | None) -> Any:
    """Read what `dumps` wrote; nothing is an empty dict."""
    return json.loads(text) if text else {}


def check_metadata(metadata: Mapping | None) -> dict[str, Any]:
    """Return the metadata of an artifact as W&B would keep it: NaN becomes None."""
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise TypeError(f"Cannot parse {type(metadata)} as artifact metadata")
    checked = _finite(plain(metadata))
    if len(checked) > MAX_METADATA_KEYS:
        raise UserValueError(f"Artifact must not have more than {MAX_METADATA_KEYS} metadata keys.")
    return checked


def flatten(value: Mapping, prefix: str = "") -> dict[str, Any]:
    """Return nested dicts as one level, keys joined with dots."""
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            flat |= flatten(item, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = item
    return flat


def _finite(value: Any) -> Any:
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, float) and math.isinf(value):
        raise UserValueError("Out of range float values are not JSON compliant: inf in metadata")
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return value


def utc(seconds: float) -> str:
    """Return a time as W&B writes it: `2026-01-31T12:00:00Z`."""
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
