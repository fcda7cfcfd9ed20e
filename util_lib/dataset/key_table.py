"""The keys of a section as a Markdown table, from what their types say of them."""

from typing import Any

from util_lib.validation import Section


def written(title: str, section: type[Section]) -> str:
    """Return a heading and the table: key, meaning, default."""
    rows = [f"## {title}", "| key | meaning | default |", "|---|---|---|"]
    for key, field in section.model_fields.items():
        default = "required" if field.is_required() else _shown(field.default)
        rows.append(f"| `{key}` | {_choices(field)}{field.description} | {default} |")
    return "\n".join(rows)


def _choices(field: Any) -> str:
    words = getattr(field.annotation, "__args__", ())
    if not all(isinstance(word, str) for word in words) or not words:
        return ""
    return f"{', '.join(f'`{word}`' for word in words)}: "


def _shown(default: Any) -> str:
    if default is None:
        return "none"
    if isinstance(default, Section):
        return "see below"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, int):
        return f"{default:,}"
    return "none" if default in ({}, []) else f"`{default}`"
