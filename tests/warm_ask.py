"""What stands behind the `python` of tests/warm.py: ask for a fork, and be its exit code.

python -S -E tests/warm_ask.py SOCKET WORDS...
"""

import json
import os
import signal
import socket
import sys


def main(place: str, words: list[str]) -> int:
    """Hand over folder, environment, words and the open files 0, 1 and 2; pass signals on."""
    about = {"words": words, "folder": os.getcwd(), "environment": dict(os.environ)}
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asked:
        try:
            asked.connect(place)
        except (ConnectionRefusedError, FileNotFoundError):  # it was killed with others
            os.execv(sys.executable, [sys.executable, *words])
        socket.send_fds(asked, [json.dumps(about).encode()], [0, 1, 2])
        pid = int(asked.recv(99))
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda number, _: os.kill(pid, number))
        return int(asked.recv(99) or -signal.SIGKILL)


if __name__ == "__main__":
    code = main(sys.argv[1], sys.argv[2:])
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)
