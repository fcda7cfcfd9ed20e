#!/usr/bin/env python
"""Answer over HTTP with a model: MLflow's scoring protocol, probabilities, a page.

Reads the model that `--model` stands for, and follows that name when it moves on: a new version is
loaded beside the old one and takes over between two requests. Ends by Ctrl-C (exit code 0), by
SIGTERM (143) or with the `mlflow run` that began it, after the requests that it had begun are
answered.
"""

import argparse
import ipaddress
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

if __name__ == "__main__":
    from util_lib.project import explain_missing_packages

    explain_missing_packages()

import uvicorn

from serving.service import app, connection, json_logs
from serving.service.champion_challenger import COLUMN, KEY_HEADER, Routing
from serving.service.limits import ServiceLimits
from serving.service.slots import Slot
from util_lib import cli, monitoring_log
from util_lib.errors import UserError

logger = logging.getLogger("serving")

TOKEN = "SERVING_TOKEN"
SWITCH_S = 0.0005  # how long a thread that computes keeps the one that answers waiting
SHORTEST_TOKEN = 16
WATCH_S = 1.0  # between two looks at whether `mlflow run` still lives
# `mlflow run` calls every run FAILED that Ctrl-C ended, also one that has ended well, and does so
# after this process: somebody has to be there then.
END_RUN = """
import sys, time, mlflow
client = mlflow.MlflowClient()
for _ in range(60):
    if client.get_run(sys.argv[1]).info.status != "FINISHED":
        client.set_terminated(sys.argv[1], "FINISHED")
    time.sleep(0.5)
"""


def build_parser() -> argparse.ArgumentParser:
    """Name the inputs; MLproject declares the same ones."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--model", default="model_export:prod", help="the model that answers, or a directory"
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help=f"address to listen on; any but the loopback needs {TOKEN}",
    )
    parser.add_argument(
        "--port", type=cli.number(0, 65_535, whole=True), default="8080", help="0 = any free port"
    )
    parser.add_argument(
        "--challenger", type=cli.optional, default="null", help="a second model, or null"
    )
    parser.add_argument(
        "--share",
        type=cli.number(0, 1, word="shadow"),
        default="shadow",
        help="share of the keys that the challenger answers, 0 to 1; shadow = it predicts unseen",
    )
    parser.add_argument(
        "--routing_key",
        default=KEY_HEADER,
        help=f"header whose value says which model answers, or {COLUMN}NAME of the rows",
    )
    parser.add_argument(
        "--poll_seconds",
        type=cli.number(0.1, 86_400),
        default="5",
        help="time between two looks whether the model's name stands for a newer version",
    )
    parser.add_argument("--max_rows", type=cli.positive_int, default="10000", help="of a request")
    parser.add_argument(
        "--max_bytes", type=cli.positive_int, default="10000000", help="of a request's body"
    )
    cli.add_capture(parser)
    cli.add_trust_pickle(parser)
    return parser


def main(argv: list[str] | None = None) -> None:
    """Serve until a signal ends it; `argv` defaults to the command line."""
    args = build_parser().parse_args(argv)
    token = check_token(args.host, os.environ.get(TOKEN))
    capture = check_capture(args.host, args.capture)
    listener = listen(args.host, args.port)  # before the model: a busy port is known at once
    with listener:
        slots = [Slot("champion", args.model, args.trust_pickle)]
        if args.challenger:
            slots.append(Slot("challenger", args.challenger, args.trust_pickle))
        served = app.create(
            Routing(slots, args.share, args.routing_key),
            ServiceLimits(rows=args.max_rows, body_bytes=args.max_bytes),
            token=token,
            only_loopback=token is None,
            poll_seconds=args.poll_seconds,
            capture=capture,
        )
        sys.setswitchinterval(SWITCH_S)
        json_logs.start()
        host, port = listener.getsockname()[:2]
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        about = {slot.role: slot.loaded.version for slot in slots}
        logger.info("serving at %s", address, extra={"fields": {"url": address} | about})
        if capture:
            said = {"folder": str(capture[0]), "share": capture[1]}
            logger.info("requests and answers are recorded", extra={"fields": said})
        end_with_mlflow()
        server = uvicorn.Server(uvicorn.Config(served, log_config=None, **connection.options()))
        try:
            server.run(sockets=[listener])
        except (KeyboardInterrupt, SystemExit) as stop:  # all requests are answered: so it ends
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # `mlflow run` sends it after Ctrl-C
            end_mlflow_run()
            if isinstance(stop, SystemExit):
                raise
            logger.info("stopped by Ctrl-C")


def end_with_mlflow() -> None:
    """End as SIGTERM does when the `mlflow run` that began this process does: it tells nobody."""
    above = os.getppid()

    def watch() -> None:
        while os.getppid() == above:
            time.sleep(WATCH_S)
        os.kill(os.getpid(), signal.SIGTERM)

    if "MLFLOW_RUN_ID" in os.environ:
        threading.Thread(target=watch, daemon=True).start()


def end_mlflow_run() -> None:
    """See to it that the MLflow run of this process, if it has one, ends as finished."""
    if run_id := os.environ.get("MLFLOW_RUN_ID"):
        subprocess.Popen(
            [sys.executable, "-c", END_RUN, run_id],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )


def check_token(host: str, token: str | None) -> str | None:
    """Return the token; `UserError` where one is needed and missing, or could be guessed."""
    if token:
        if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable():
            raise UserError(
                f"{TOKEN} must be at least {SHORTEST_TOKEN} printable ASCII characters, found "
                f"{len(token)} characters: make one with `openssl rand -hex 24`"
            )
        return token
    if not is_loopback(host):
        raise UserError(
            f"host {host!r} can be reached by others, so callers must show a token: set {TOKEN}, "
            "for example to what `openssl rand -hex 24` prints, or use host 127.0.0.1"
        )
    return None


def check_capture(host: str, share: float) -> tuple[Path, float] | None:
    """Return the monitoring log, made if need be, and the share of requests that it gets.

    Where others ask, `UserError` unless it was said where what they send may be kept.
    """
    if not share:
        return None
    root = monitoring_log.folder()
    if not is_loopback(host) and not os.environ.get(monitoring_log.PLACE):
        raise UserError(
            f"host {host!r} can be reached by others, and capture would record what they send: set "
            f"{monitoring_log.PLACE} to the folder where it may lie, or leave out capture"
        )
    monitoring_log.make(root)
    return root, share


def is_loopback(host: str) -> bool:
    """Say whether only this machine reaches `host`; of names, localhost alone counts."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """Return a socket bound to the address; `UserError` where it cannot be had."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, proto)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2_048)
    except OSError as error:
        raise UserError(
            f"host {host!r}, port {port} cannot be listened on ({error.strerror}): choose another "
            "with -P port=..., port=0 takes any free one"
        ) from None
    return listener


if __name__ == "__main__":
    sys.exit(cli.exit_code(main))
