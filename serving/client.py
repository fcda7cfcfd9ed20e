#!/usr/bin/env python
"""Ask a running service for predictions: an example of a client, on requests.

Posts an input example (a model's own input_example.json, else the rows that the service shows of
its model) and prints the status and the labels. Works with `mlflow models serve` too.
"""

import argparse
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

try:
    import requests
except ModuleNotFoundError:
    sys.exit("client: it asks by the package requests, which is not there: pip install requests")

TIMEOUT_S = (5, 60)  # to connect; for the answer


def build_parser() -> argparse.ArgumentParser:
    """Name the arguments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="where the service is")
    parser.add_argument(
        "--example", type=Path, help="input_example.json of a model; default: asked of the service"
    )
    return parser


def without_nan(value: Any) -> Any:
    """Return `value` with null for every NaN: JSON has no NaN, and pandas has no other null."""
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return value


def headers() -> dict[str, str]:
    """Return what every request carries: a token where SERVING_TOKEN is set."""
    token = os.environ.get("SERVING_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}


def example(url: str, path: Path | None) -> dict[str, Any]:
    """Return a body in MLflow's form: of an input example file, or of the rows of `/model`."""
    if path:
        content = json.loads(path.read_text(encoding="utf-8"))
        return content if "dataframe_split" in content else {"dataframe_split": content}
    card = requests.get(f"{url}/model", headers=headers(), timeout=TIMEOUT_S)
    if card.status_code == 404:
        raise ValueError(
            "it shows no rows of its model, as MLflow's own server does not: add --example "
            "model/input_example.json, of python -m util_lib.tracking download "
            "songs_demo/model_export:prod model"
        )
    card.raise_for_status()
    return {"dataframe_records": card.json()["examples"]}


def main(argv: list[str] | None = None) -> int:
    """Post the example and print the answer; 0 if it was answered, 1 if not."""
    args = build_parser().parse_args(argv)
    url = args.url.rstrip("/")
    try:
        body = without_nan(example(url, args.example))
        answer = requests.post(
            f"{url}/invocations", json=body, headers=headers(), timeout=TIMEOUT_S
        )
        print(answer.status_code)
        answer.raise_for_status()
        print(answer.json()["predictions"])
    except requests.HTTPError as error:
        print(f"client: {error}: {error.response.text[:1000].strip()}", file=sys.stderr)
        return 1
    except requests.ConnectionError:
        print(
            f"client: nothing answers at {url}: start the service (mlflow run serving -e serve "
            "--env-manager uv), or say where it is by --url",
            file=sys.stderr,
        )
        return 1
    except (requests.RequestException, OSError, ValueError, KeyError) as error:
        print(f"client: no prediction from {url}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
