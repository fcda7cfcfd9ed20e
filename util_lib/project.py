"""Where this checkout lies."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def resolve_path(text: str | Path) -> Path:
    """Return `text` as an absolute path; a relative one starts at the project root.

    Steps run in their own folder, `main.py` at the root: both must read the same file.
    """
    return ROOT / text
