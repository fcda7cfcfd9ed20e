"""The tar file: the same members in, the same bytes out; there whole or not at all."""

import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

from util_lib import safe_files

WAY_OUT = "name another file by output=<path>, or free space there"


def write(
    output: Path, first: dict[str, bytes], members: dict[str, Path], about: dict[str, Any]
) -> int:
    """Write the files `first`, a manifest with the digests of `members`, and these."""
    sums = {name: safe_files.read_content(path).sha256 for name, path in members.items()}
    manifest = json.dumps(about | {"members": dict(sorted(sums.items()))}, indent=1) + "\n"
    draft = output.with_name(f".{output.name}{safe_files.DRAFT}{os.getpid()}")
    with safe_files.writing(output, WAY_OUT):
        try:
            with open(draft, "xb") as file:
                with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
                    for name, content in {**first, "manifest.json": manifest.encode()}.items():
                        tar.addfile(_member(name, len(content), False), io.BytesIO(content))
                    for name in sorted(members):
                        path = members[name]
                        status = path.stat()
                        runnable = bool(status.st_mode & 0o100)
                        with open(path, "rb") as source:
                            tar.addfile(_member(name, status.st_size, runnable), source)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, output)
            safe_files.sync_directory(output.parent)
        finally:
            draft.unlink(missing_ok=True)
    return output.stat().st_size


def _member(name: str, size: int, runnable: bool) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o755 if runnable else 0o644
    return member
