"""Start the double in a process of its own, and talk to it as tests do."""

import json
import subprocess
import sys
import urllib.request
import uuid
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]


class Account(NamedTuple):
    """An account of the double, and what a process needs in its environment to use it."""

    entity: str
    api_key: str
    environment: dict[str, str]


class Process:
    """A running double."""

    _process: subprocess.Popen | None = None

    def __init__(self, folder: Path):
        self._folder = folder
        self.start()

    def start(self) -> None:
        """Start the double, unless it runs."""
        if self._process is not None and self._process.poll() is None:
            return
        folder = self._folder / uuid.uuid4().hex
        folder.mkdir()
        command = [sys.executable, "-m", "tests.wandb_service", str(folder)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.url = self._process.stdout.readline().strip()
        if not self.url:
            raise RuntimeError("the double of the W&B service did not start")

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def stop(self) -> None:
        if self._process.returncode is not None:
            return
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()

    def account(self, folder: Path) -> Account:
        """Make an account with an entity of its own; its client keeps its files in `folder`."""
        entity, key = f"team-{uuid.uuid4().hex[:8]}", uuid.uuid4().hex + uuid.uuid4().hex[:8]
        self.ask("accounts", {"entity": entity, "api_key": key})
        return Account(entity, key, {**client_environment(self.url, folder), "WANDB_API_KEY": key})

    def order(self, *faults: dict[str, Any]) -> None:
        """Answer what matches (`graphql operation`, `file_stream`, `upload`, `download`) amiss.

        A fault has `match` (a pattern), `status` with `message`, and `times`, `seconds` (to wait
        first) and `retry_after` (the header) if wanted. Without faults all is well again.
        """
        self.ask("faults", list(faults))

    def requests(self) -> list[str]:
        """Return what was asked since the last `order`."""
        return self.ask("requests")

    def holds(self, text: str) -> bool:
        """Say whether the text stands in any byte that was sent to it."""
        files = [path for path in self._folder.rglob("*") if path.is_file()]
        return any(text.encode() in path.read_bytes() for path in files)

    def ask(self, what: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(urllib.request.Request(f"{self.url}/double/{what}", data)) as answer:
            return json.load(answer)


def client_environment(url: str, folder: Path) -> dict[str, str]:
    """Return the variables that keep a client away from everything but `url` and `folder`."""
    places = {
        f"WANDB_{name}_DIR": str(folder / name.lower()) for name in ("CACHE", "CONFIG", "DATA")
    }
    return {
        "WANDB_BASE_URL": url,
        "WANDB_DIR": str(folder),
        **places,
        "NETRC": str(folder / "netrc"),
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_SILENT": "true",
        # A proxy that cannot be used makes downloads hang.
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }
