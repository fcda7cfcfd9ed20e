"""Which process did something, and whether it is still alive: so its left-overs can be told.

A process is a machine, a number and the time at which it began: numbers come again. Of another
machine's processes nobody here knows anything.
"""

import os
from contextlib import suppress
from pathlib import Path

_UNKNOWN = "?"


def machine() -> str:
    """Name this machine; containers on one machine do not see each other's processes."""
    space = _UNKNOWN
    with suppress(OSError):
        space = str(os.stat("/proc/self/ns/pid").st_ino)
    return f"{os.uname().nodename}/{space}"


def mine() -> str:
    """Return what `has_ended` is later asked about: `machine pid start`."""
    return f"{machine()} {os.getpid()} {_start(os.getpid())}"


def has_ended(process: str) -> bool:
    """Say whether a process has surely ended; of another machine's that is never sure."""
    where, pid, start = process.split(" ")
    if where != machine():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return _start(int(pid)) not in (start, _UNKNOWN)


def with_variable(name: str) -> set[str]:
    """Return the values that an environment variable has in the living processes of this user."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            for entry in path.read_bytes().split(b"\0"):
                key, _, value = entry.partition(b"=")
                if key == name.encode():
                    found.add(os.fsdecode(value))
    return found


def _start(pid: int) -> str:
    """Return when a process began, in ticks since the machine did; `?` where nobody says."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return _UNKNOWN
    fields = stat.rpartition(")")[2].split()
    return _UNKNOWN if fields[0] in "ZX" and pid != os.getpid() else fields[19]
