"""Start the double on a free port of loopback, print its address, serve until stdin is closed.

python -m tests.wandb_service FOLDER [ADDRESS]

ADDRESS stands for loopback in a network namespace that nothing outside can reach.
"""

import os
import socket
import sys
import threading
from pathlib import Path

import uvicorn

from tests.wandb_service.app import Double


def main() -> None:
    address = sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1"
    sockets = [socket.create_server((address, 0))]
    app = Double(Path(sys.argv[1])).app()
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    # Whoever started it may be killed; then its end of the pipe closes.
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    print(f"http://{address}:{sockets[0].getsockname()[1]}", flush=True)
    server.run(sockets=sockets)


if __name__ == "__main__":
    main()
