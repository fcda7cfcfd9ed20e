"""A Ray cluster of two machines, each in network, process and mount namespaces of its own.

A veth pair joins the two; nothing outside reaches them, nor they anything outside. What a machine
keeps for itself (Ray's folder, the code) is hidden from the other.
"""

import contextlib
import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[4]
PORT = 6379
CODE = ("pipeline", "util_lib", "train_random_forest", "conf")
START_S = 120
# Must hold ray, the launch requirements and, for main.env_manager=local, the packages of the steps.
PYTHON = os.environ.get("PIPELINE_TEST_CLUSTER_PYTHON") or sys.executable


def has(*packages: str) -> bool:
    """Say whether the interpreter for the cluster has packages."""
    if PYTHON == sys.executable:
        return all(importlib.util.find_spec(name) for name in packages)
    words = f"import {', '.join(packages)}"
    return subprocess.run([PYTHON, "-c", words], capture_output=True).returncode == 0


def missing() -> str:
    """Say what this machine lacks for such a cluster; empty where nothing does."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs root on Linux, for network namespaces"
    for program in ("ip", "unshare", "mount"):
        if not shutil.which(program):
            return f"needs the program {program}"
    name = f"pt{secrets.token_hex(3)}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode:
        return "needs the right to make network namespaces"
    subprocess.run(["ip", "netns", "delete", name], check=True)
    if not has("ray"):
        return (
            "needs ray: pip install -r requirements-cluster.txt, or name an interpreter that has "
            "it in PIPELINE_TEST_CLUSTER_PYTHON"
        )
    return ""


class Cluster:
    """Two machines; `addresses` are those of the head and of the other one."""

    addresses = ("10.123.0.1", "10.123.0.2")

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        tag = secrets.token_hex(3)
        self.names = (f"pt{tag}a", f"pt{tag}b")
        self.token = secrets.token_hex(24)
        self.more: dict[str, str] = {}  # variables of every program of the cluster
        self._wandb: subprocess.Popen | None = None
        self.tmp = Path(f"/tmp/ray{tag}")  # Ray's sockets must have short paths
        self.nodes: list[subprocess.Popen] = []
        self._outputs = [open(folder / f"node{number}.txt", "w+") for number in (0, 1)]

    @property
    def address(self) -> str:
        return f"{self.addresses[0]}:{PORT}"

    def environment(self, **more: str) -> dict[str, str]:
        """Return what every program of the cluster runs with, the token among it."""
        known = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "PYTHON"))}
        known |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}
        # steps run with `python` of the PATH
        known |= {"PATH": f"{Path(PYTHON).parent}:{os.environ['PATH']}"}
        return known | {"RAY_USAGE_STATS_ENABLED": "0"} | self.more | more

    def start_wandb(self) -> str:
        """Start the double of W&B on the head; return its address."""
        folder = self.folder / "wandb_service"
        folder.mkdir()
        self._wandb = subprocess.Popen(
            [
                *("ip", "netns", "exec", self.names[0], sys.executable),
                *("-m", "tests.wandb_service", str(folder), self.addresses[0]),
            ],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self._wandb.stdout.readline().strip()

    def start(
        self, hide: tuple[Path, ...] = (), *options: str, instead: dict[Path, Path] | None = None
    ) -> None:
        """Start both machines; the other one has empty folders in place of those in `hide`.

        It has other files in place of those in `instead`, and is started with `options` of `ray
        start` besides.
        """
        a, b = self.names
        self.tmp.mkdir()
        for name in self.names:
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        _ip("link", "add", "veth", "netns", a, "type", "veth", "peer", "name", "veth", "netns", b)
        for name, address in zip(self.names, self.addresses, strict=True):
            _ip("-n", name, "address", "add", f"{address}/24", "dev", "veth")
            _ip("-n", name, "link", "set", "veth", "up")
        head = ["--head", f"--port={PORT}", f"--temp-dir={self.tmp}", "--include-dashboard=false"]
        self._start_node(0, head, "")
        self._wait_for(0, "Ray runtime started")
        mounts = "".join(f"mount -t tmpfs none {path} && " for path in (self.tmp, *hide))
        for path, other in (instead or {}).items():
            mounts += f"mount --bind {other} {path} && "
        self._start_node(1, [f"--address={self.address}", *options], mounts)
        self._wait_for(1, "Ray runtime started")

    def _start_node(self, number: int, options: list[str], mounts: str) -> None:
        ray = [PYTHON, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1"]
        ray += [f"--node-ip-address={self.addresses[number]}", *options]
        self.nodes.append(
            subprocess.Popen(
                [
                    *("ip", "netns", "exec", self.names[number]),
                    *("unshare", "--pid", "--mount", "--fork", "--mount-proc"),
                    *("--kill-child=SIGKILL", "sh", "-c", f'{mounts}exec "$@"', "sh", *ray),
                ],
                env=self.environment(),
                cwd=self.folder,
                stdout=self._outputs[number],
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        )

    def _wait_for(self, number: int, words: str) -> None:
        path = self.folder / f"node{number}.txt"
        until = time.monotonic() + START_S
        while words not in path.read_text():
            if time.monotonic() > until or self.nodes[number].poll() is not None:
                raise AssertionError(f"Ray did not start: {path.read_text()}")
            time.sleep(0.2)

    def popen(self, *words: str, **environment: str) -> subprocess.Popen:
        """Start a program on the head."""
        return subprocess.Popen(
            ["ip", "netns", "exec", self.names[0], *words],
            env=self.environment(**environment),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def processes(self, number: int, words: str) -> list[psutil.Process]:
        """Return a machine's processes whose command line holds `words`."""
        found = psutil.Process(self.nodes[number].pid).children(recursive=True)
        with contextlib.suppress(psutil.Error):  # ended while we looked
            return [one for one in found if words in " ".join(one.cmdline())]
        return []

    def kill(self, number: int) -> None:
        """Take a machine away: all its processes die at once, as in a power cut."""
        _ip("-n", self.names[number], "link", "set", "veth", "down")
        self.nodes[number].kill()
        self.nodes[number].wait()

    def stop(self) -> None:
        if self._wandb:
            self._wandb.kill()
            self._wandb.communicate()
        for node in self.nodes:
            if node.poll() is None:
                os.killpg(node.pid, signal.SIGKILL)
                node.wait()
        for name in self.names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)
        for output in self._outputs:
            output.close()
        shutil.rmtree(self.tmp, ignore_errors=True)


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
