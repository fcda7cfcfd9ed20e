#!/usr/bin/env python
"""Write the build context of an image that serves one version of a model, and build it.

Reads a model from the store; writes a folder with Dockerfile, exact requirements, the code that
serves and the model. Where no Docker engine answers the folder is left and the exit code is 1.
"""

import argparse
import json
import logging
import re
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

if __name__ == "__main__":
    from util_lib.project import explain_missing_packages

    explain_missing_packages()

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from serving.aliases import history, move
from serving.model import served_model
from util_lib import cli, safe_files, tracking
from util_lib.errors import UserError
from util_lib.project import ROOT
from util_lib.tracking.store.places import store_directory

logger = logging.getLogger("serving")

COMMAND = "mlflow run serving -e image --env-manager uv"
DOCKERFILE = (ROOT / "serving" / "Dockerfile").read_text(encoding="utf-8")
[BASE] = re.findall(r"^FROM (.*)$", DOCKERFILE, re.M)
# In serving's environment for the store and for files, which an image does not have.
NOT_FOR_SERVING = (
    *("mlflow-skinny", "sqlalchemy", "alembic", "wandb", "packaging"),
    *("duckdb", "adbc-driver-manager", "adbc-driver-sqlite", "adbc-driver-postgresql"),
)
SBOM = "sbom.cdx.json"
MARK = "# Written by serving/image.py"
COPIED = ("*.py", "*.html", "*.css", "page/*")


def build_parser() -> argparse.ArgumentParser:
    """Name the inputs; MLproject declares the same ones."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--model",
        type=cli.artifact_reference,
        default="model_export:prod",
        help="the model inside, for example model_export:prod",
    )
    parser.add_argument(
        "--tag",
        type=cli.optional,
        default="null",
        help="name of the image; null = <model>:<version>, such as model_export:v3",
    )
    parser.add_argument(
        "--context",
        type=cli.optional,
        default="null",
        help="folder to write, from where the store lies; null = serving_image beside the store",
    )
    parser.add_argument(
        "--base", default=BASE, help="image to build on, by tag or python@sha256:<digest>"
    )
    parser.add_argument(
        "--build", type=cli.true_or_false, default="true", help="false = only write the folder"
    )
    cli.add_trust_pickle(parser)
    return parser


def main(argv: list[str] | None = None) -> None:
    """Write the context and build it; `argv` as for a step."""
    args = build_parser().parse_args(argv)
    if not re.fullmatch(r"[\w./:@-]*[\w-](:[\w.-]+|@sha256:[0-9a-f]{64})", args.base):
        raise UserError(
            f"base must be an image with a tag or a digest, such as {BASE}, found {args.base!r}"
        )
    move.finish_interrupted_move()
    with tracking.init_reader(job_type="image", config=vars(args)) as run:
        artifact = run.use_artifact(args.model)
        served_model.refuse_no_model(artifact)
        tag = check_tag(args.tag or artifact.source_name.lower())
        context = store_directory().parent / (args.context or "serving_image")
        write_context(artifact, context, args.base, args.trust_pickle)
        logger.info("%s is in %s", history.full_name(artifact), context)
        run.summary["context"] = str(context)
    command = ["docker", "build", "--tag", tag, str(context)]
    if not args.build:
        logger.info("build it with: %s", " ".join(command))
        return
    if reason := why_no_engine():
        raise UserError(
            f"the image was not built, because {reason}; the folder is ready: "
            f"{' '.join(command)} builds it where an engine runs, and -P build=false asks for the "
            "folder alone"
        )
    if (code := subprocess.run(command).returncode) != 0:
        raise UserError(f"docker build ended with exit code {code}: its own lines above say why")
    logger.info("the image is %s", tag)


def check_tag(tag: str) -> str:
    """Return `tag` if an image can be called so."""
    if not re.fullmatch(r"[a-z0-9]+([._/-]+[a-z0-9]+)*(:[\w][\w.-]{0,127})?", tag):
        raise UserError(
            f"tag {tag!r} cannot name an image: expected lower-case letters, digits, . _ - and /, "
            "then perhaps :version, such as songs:v3"
        )
    return tag


def write_context(artifact: Any, context: Path, base: str, trust_pickle: bool = False) -> None:
    """Write the folder `context`, whole or not at all; an older one of ours is replaced."""
    if context.exists() and not _is_ours(context):
        raise UserError(
            f"{context} is there and was not written by image: remove it, or name another folder "
            "with -P context=..."
        )
    version = history.full_name(artifact)
    with safe_files.writing(context, "free space there or name another folder with -P context=..."):
        context.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=context.parent, prefix=".serving_image-") as tmp:
            new = Path(tmp, "context")
            new.mkdir()
            served_model.fetched(artifact, new)
            # What cannot be served is refused here.
            served_model.load(str(new / "model"), trust_pickle=trust_pickle)
            pins = requirements()
            refuse_other_versions(new / "model" / "requirements.txt", pins, version)
            lines = [f"{name}=={pin}" for name, pin in sorted(pins.items())]
            (new / "requirements.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
            materials = bill_of_materials(pins, version, artifact.digest)
            (new / SBOM).write_text(json.dumps(materials, indent=1) + "\n", encoding="utf-8")
            for folder in ("serving", "util_lib"):
                _copy_code(ROOT / folder, new / folder)
            text = DOCKERFILE.replace(f"\nFROM {BASE}\n", f"\nFROM {base}\n")
            if trust_pickle:
                text = text.replace(
                    '"--port", "8080"', '"--port", "8080", "--trust_pickle", "true"'
                )
            text = f"{MARK}: {version}, digest {artifact.digest}.\n{text}"
            (new / "Dockerfile").write_text(text, encoding="utf-8")
            for path in [new, *new.rglob("*")]:  # whatever the umask: the image's user is nobody
                path.chmod(0o755 if path.is_dir() else 0o644)
            if context.exists():
                context.rename(Path(tmp, "old"))
            new.rename(context)


def requirements() -> dict[str, str]:
    """Return every package that serving needs, with its version in this environment.

    From serving's conda.yml, without what is for the store, and what these packages ask for.
    """
    declared = yaml.safe_load((ROOT / "serving" / "conda.yml").read_text(encoding="utf-8"))
    [pip] = [entry["pip"] for entry in declared["dependencies"] if isinstance(entry, dict)]
    waiting = [Requirement(line) for line in pip]
    waiting = [package for package in waiting if package.name not in NOT_FOR_SERVING]
    pins: dict[str, str] = {}
    looked_at = set()
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        try:
            pins[name], asked = metadata.version(name), metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            raise UserError(
                f"{name} is not installed here, and the image's requirements are read from this "
                f"environment: run it by `{COMMAND}`, which makes that of serving"
            ) from None
        if pins[name] not in wanted.specifier:
            raise UserError(
                f"{name} {pins[name]} is installed here and serving asks for {wanted}: run it by "
                f"`{COMMAND}`, which makes the environment of serving"
            )
        for extra in {"", *wanted.extras}:
            if (name, extra) not in looked_at:
                looked_at.add((name, extra))
                inner = [Requirement(line) for line in asked]
                waiting += [
                    package
                    for package in inner
                    if package.marker is None or package.marker.evaluate({"extra": extra})
                ]
    return pins


def bill_of_materials(pins: dict[str, str], version: str, digest: str) -> dict[str, Any]:
    """Return what is in the image, as CycloneDX: each package, and the model with its digest."""
    packages = [
        {
            "type": "library",
            "bom-ref": f"pkg:pypi/{name}@{pin}",
            "name": name,
            "version": pin,
            "purl": f"pkg:pypi/{name}@{pin}",
        }
        for name, pin in sorted(pins.items())
    ]
    model = {
        "type": "machine-learning-model",
        "bom-ref": version,
        "name": version,
        "version": version.rpartition(":")[2],
        "hashes": [{"alg": "MD5", "content": digest}],
    }
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": model},
        "components": packages,
        "dependencies": [{"ref": version, "dependsOn": [each["purl"] for each in packages]}],
    }


def refuse_other_versions(listed: Path, pins: dict[str, str], version: str) -> None:
    """Raise `UserError` if the model was made with other versions than the image would have."""
    for line in listed.read_text(encoding="utf-8").splitlines():
        name, _, wanted = line.partition("==")
        have = pins.get(canonicalize_name(name.strip()))
        if wanted and have is not None and have != wanted.strip():
            raise UserError(
                f"{version} was made with {line.strip()} and the image would have {have}: train "
                "it again, or make the image from the checkout that trained it"
            )


def why_no_engine() -> str | None:
    """Say why Docker cannot build, None if it can."""
    if shutil.which("docker") is None:
        return "there is no docker command here"
    try:
        asked = subprocess.run(
            ["docker", "version", "--format", "{{.Server.Version}}"],
            capture_output=True,
            text=True,
            timeout=30,
        )
    except subprocess.TimeoutExpired:
        return "the Docker engine does not answer"
    if asked.returncode == 0:
        return None
    lines = asked.stderr.strip().splitlines() or ["no reason given"]
    return f"no Docker engine answers here ({lines[-1].rstrip('.')})"


def _is_ours(context: Path) -> bool:
    written = context / "Dockerfile"
    return written.is_file() and written.read_text(encoding="utf-8").startswith(MARK)


def _copy_code(source: Path, target: Path) -> None:
    for pattern in COPIED:
        for path in sorted(source.rglob(pattern)):
            if path.is_file():
                copy = target / path.relative_to(source)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)


if __name__ == "__main__":
    sys.exit(cli.exit_code(main))
