"""A bundle brings code, packages and artifacts to a machine without network, or nothing at all."""

import hashlib
import io
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.commands import unbundle
from tests import warm
from tests.pipeline.caching.test_reuse import Place
from tests.pipeline.checkout import commit, copy_place, git
from tests.pipeline.trivial_steps import ROOT, STEPS

MODEL = "songs_demo/model_export:v0"


def tar_of(path: Path, content: dict[str, bytes], *more: tarfile.TarInfo, **other: object) -> Path:
    """Write a bundle with these members, and with `more` that its manifest lists too."""
    listed = content | {member.name: b"" for member in more}
    about = {
        "format": unbundle.FORMAT,
        "version": "v1",
        "commit": "0" * 40,
        "folder": "",
        "python": platform.python_version(),
        "platform": sysconfig.get_platform(),
        "glibc": [],
        "artifacts": [],
        "receipts": [],
        "members": {name: hashlib.sha256(text).hexdigest() for name, text in listed.items()},
    }
    manifest = json.dumps(about | other).encode()
    with tarfile.open(path, "w") as tar:
        for name, text in {"manifest.json": manifest, **content}.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text))
        for member in more:
            tar.addfile(member)
    return path


def unpack(bundle: Path, folder: Path, **more: str) -> SimpleNamespace:
    """Unpack as on a machine that has nothing but Python: with a copy of the file alone."""
    alone = bundle.parent / "alone"
    alone.mkdir(exist_ok=True)
    shutil.copy(unbundle.__file__, alone / "unbundle.py")
    command = [sys.executable, "-I", str(alone / "unbundle.py")]
    done = subprocess.run(
        [*command, f"--bundle={bundle}", f"--folder={folder}"],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "HOME": str(bundle.parent / "nobody"), **more},
        cwd=bundle.parent,
    )
    return SimpleNamespace(code=done.returncode, out=done.stdout, err=done.stderr)


def is_refused(done: SimpleNamespace, folder: Path, *words: str) -> None:
    assert done.code == 1, done.out
    [line] = done.err.splitlines()
    assert line.startswith("error: ")
    for word in words:
        assert word in line
    assert not folder.exists()
    assert not list(folder.parent.glob(f".{folder.name}*"))


def link(name: str, kind: bytes, target: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize(
    "hostile",
    [
        tarfile.TarInfo("../evil"),
        tarfile.TarInfo("code/../../evil"),
        tarfile.TarInfo("/tmp/evil"),
        tarfile.TarInfo("code//evil"),
        link("code/evil", tarfile.SYMTYPE, "/etc/passwd"),
        link("code/evil", tarfile.LNKTYPE, "code/main.py"),
        link("code/evil", tarfile.FIFOTYPE, ""),
        link("code/evil", tarfile.DIRTYPE, ""),
    ],
    ids=lambda member: f"{member.name}-{member.type.decode()}",
)
def test_what_is_no_plain_file_inside_is_refused(hostile, tmp_path):
    bundle = tar_of(tmp_path / "bundle.tar", {"code/main.py": b"print()"}, hostile)
    is_refused(unpack(bundle, tmp_path / "project"), tmp_path / "project", hostile.name)
    assert not (tmp_path / "evil").exists()
    assert not (tmp_path.parent / "evil").exists()


def test_a_bundle_that_is_cut_off_anywhere_leaves_nothing(tmp_path):
    bundle = tar_of(tmp_path / "bundle.tar", {"code/main.py": b"x" * 5000, "code/b": b"y" * 3000})
    whole = bundle.read_bytes()
    for size in (0, 100, 512, 1000, 1536, 2500, 4000, 8500, 10000):
        bundle.write_bytes(whole[:size])
        done = unpack(bundle, tmp_path / "project")
        is_refused(done, tmp_path / "project", "no bundle", "copy it again")


def test_a_damaged_an_unlisted_or_a_missing_member_is_named(tmp_path):
    content = {"code/main.py": b"good"}
    bundle = tar_of(tmp_path / "bundle.tar", content)
    bundle.write_bytes(bundle.read_bytes().replace(b"good", b"evil"))
    is_refused(unpack(bundle, tmp_path / "one"), tmp_path / "one", "code/main.py", "damaged")
    bundle = tar_of(tmp_path / "bundle.tar", content, members={})
    is_refused(unpack(bundle, tmp_path / "two"), tmp_path / "two", "does not list")
    digest = hashlib.sha256(b"good").hexdigest()
    bundle = tar_of(tmp_path / "bundle.tar", content, members={"code/main.py": digest, "lost": "0"})
    is_refused(unpack(bundle, tmp_path / "three"), tmp_path / "three", "1 of its files are missing")


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"python": "3.9.1"}, ["are for Python 3.9.1", "start it with python3.9"]),
        ({"platform": "plan9-mips"}, ["are for plan9-mips"]),
        ({"glibc": [99, 1]}, ["need glibc 99.1"]),
        ({"format": 7}, ["format 7"]),
        ({"folder": "../.."}, ["format"]),
        ({"members": 3}, ["no bundle"]),
        ({"artifacts": None}, ["no bundle"]),
        ({"receipts": [7]}, ["no bundle"]),
        ({"glibc": None}, ["not made by this project"]),
        ({"python": 3}, ["not made by this project"]),
        ({"folder": "a\0b"}, ["not made by this project"]),
        ({}, ["not made by this project"]),  # it has no uv
    ],
)
def test_a_bundle_for_another_machine_says_for_which(about, words, tmp_path):
    bundle = tar_of(tmp_path / "bundle.tar", {"code/main.py": b""}, **about)
    is_refused(unpack(bundle, tmp_path / "project"), tmp_path / "project", *words)


def test_a_folder_that_is_there_is_left_alone(tmp_path):
    (tmp_path / "project").mkdir()
    done = unpack(tar_of(tmp_path / "bundle.tar", {}), tmp_path / "project")
    assert (done.code, "is there already" in done.err) == (1, True)
    missing = unpack(tmp_path / "nothing.tar", tmp_path / "other")
    is_refused(missing, tmp_path / "other", "nothing.tar", "No such file")


# Made by the command itself, in a checkout whose only package is uv.


@pytest.fixture(scope="module")
def place(recorded_run, tmp_path_factory) -> Place:
    """A checkout in which the pipeline has run twice; the first model is prod."""
    place = copy_place(recorded_run, tmp_path_factory.mktemp("bundles") / "place")
    lock = (ROOT / "requirements.lock").read_text()
    begins = lock.index("\nuv==") + 1
    entry = lock[begins : lock.index("\nuvicorn", begins) + 1]
    (place.project / "requirements.lock").write_text(entry)
    (place.project / "requirements.txt").write_text(entry.split()[0] + "\n")
    (place.project / "conda.yml").write_text("dependencies:\n  - python=3.11.1\n")
    (place.project / "data").mkdir()
    (place.project / ".gitignore").open("a").write("/data/\n")
    (place.project / "data" / "mine.csv").write_text("a,b\n5,6\n")
    commit(place.project, "with locks")
    assert place.ran("data.file_url=data/mine.csv") == list(STEPS)
    code = (
        "from util_lib import tracking; a = tracking.Api().artifact('songs_demo/model_export:v1'); "
    )
    code += "a.aliases.append('prod'); a.save()"
    done = subprocess.run(
        [warm.python(), "-c", code],
        env={**place.environment, "PYTHONPATH": str(place.project)},
        cwd=place.home,
    )
    assert done.returncode == 0
    return place


def bundle_of(place: Place, *given: str, **more: str) -> SimpleNamespace:
    done = subprocess.run(
        [warm.python(), "-m", "pipeline.commands.bundle", *given],
        cwd=place.home,
        env={**place.environment, "PYTHONPATH": str(place.project), **more},
        capture_output=True,
        text=True,
    )
    return SimpleNamespace(code=done.returncode, out=done.stdout, err=done.stderr)


@pytest.mark.environments
def test_what_cannot_be_bundled_is_one_sentence_and_no_file(place):
    for given, words in {
        "--commit=nowhere": "commit=nowhere is no tag, branch or commit",
        "--artifacts=songs_demo/nothing:latest": "nothing",
        "--output=not/there.tar": "lies in no folder",
        "--output=.": "is a folder",
    }.items():
        done = bundle_of(place, given)
        assert done.code == 1
        [line] = done.err.splitlines()
        assert words in line
    assert not list(place.home.glob("*.tar"))


@pytest.mark.environments
def test_a_bundle_is_the_same_bytes_again_and_holds_what_prod_needs(place, tmp_path):
    for name in ("one.tar", "two.tar"):
        done = bundle_of(place, f"--output={name}")
        assert done.code == 0, done.err
    assert (place.home / "one.tar").read_bytes() == (place.home / "two.tar").read_bytes()

    done = unpack(place.home / "one.tar", tmp_path / "project")
    assert done.code == 0, done.err
    assert "-P receipt=songs_demo/receipt:v1" in done.out
    there = tmp_path / "project"
    head = git(place.project, "rev-parse", "HEAD")
    assert git(there, "rev-parse", "HEAD") == head
    assert git(there, "status", "--porcelain") == ""
    assert (there / "data" / "mine.csv").read_text() == "a,b\n5,6\n"
    code = (
        "import json; from util_lib.tracking.store.database import open_store; s = open_store(); "
        "print(json.dumps([[v.reference, v.aliases, s.damage(v)] for v in s.all_versions()]),"
        " len(s.runs()))"
    )
    asked = subprocess.run(
        [warm.python(), "-c", code],
        cwd=there,
        env=place.environment,
        capture_output=True,
        text=True,
    )
    listed, _, runs = asked.stdout.strip().rpartition(" ")
    versions = json.loads(listed)
    assert ["songs_demo/model_export:v1", ["latest", "prod"], []] in versions
    assert "songs_demo/receipt:v1" in [reference for reference, _, _ in versions]
    assert not [reference for reference, _, _ in versions if reference == MODEL]
    assert not [damage for _, _, damage in versions if damage]
    assert int(runs) == len(STEPS) + 1  # and that of the receipt

    assert "environments ask for Python 3.11.1: they will have" in done.out
    mine = there / "data" / "environment"
    uv = [str(there / ".venv/bin/uv"), "--quiet", "venv", str(mine), "--python=3.11.1"]
    subprocess.run([*uv, "--offline"], check=True)
    assert (mine / "bin" / "python").resolve() == Path(sys.executable).resolve()

    # What every Python of .venv says to uv: there is no network, and the packages are here.
    moved = there.rename(tmp_path / "elsewhere")
    shown = "import os; print(os.environ['UV_OFFLINE'], os.environ['UV_FIND_LINKS'])"
    said = subprocess.check_output([moved / ".venv/bin/python", "-c", shown], text=True)
    assert said.split() == ["1", str(moved / ".venv" / "wheels")]


@pytest.mark.environments
def test_unpacking_that_is_stopped_leaves_nothing_and_a_killed_one_is_cleaned_up(place, tmp_path):
    bundle = tmp_path / "bundle.tar"
    assert bundle_of(place, f"--output={bundle}", "--artifacts=none").code == 0
    command = [sys.executable, unbundle.__file__, f"--bundle={bundle}", "--folder=project"]
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
        process = subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        while not list(tmp_path.glob(".project.*/*")):
            time.sleep(0.001)
        process.send_signal(number)
        process.communicate()
        assert process.returncode != 0
        assert len(list(tmp_path.glob(".project*"))) == (number == signal.SIGKILL)
        assert not (tmp_path / "project").exists()
    done = unpack(bundle, tmp_path / "project")
    assert done.code == 0, done.err
    assert not list(tmp_path.glob(".project*"))


# The whole way, in a network namespace.

INSIDE = """
set -eu
ip link set lo up
test -z "$(ip route)"
exec env -i HOME={home} PATH={python}:/usr/bin:/bin bash -ec '{command}'
"""
ASK = """
mlflow run serving --env-manager uv -P port=8765 > served.txt 2>&1 &
for i in $(seq 200); do
  curl --silent --fail http://127.0.0.1:8765/model > model.json && break; sleep 1
done
kill $!
"""


class Namespace:
    """A machine with Python, git and curl, a loopback, an empty home, and no network."""

    def __init__(self, folder: Path):
        self.folder = folder
        (folder / "home").mkdir()

    def run(self, command: str) -> str:
        script = INSIDE.format(
            home=self.folder / "home",
            python=Path(sys.base_prefix, "bin"),
            command=command,
        )
        done = subprocess.run(
            ["unshare", "--net", "sh", "-c", script],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1800,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout


@pytest.fixture
def namespace(tmp_path) -> Namespace:
    lacks = [name for name in ("unshare", "ip", "git", "curl") if shutil.which(name) is None]
    if lacks:
        pytest.skip(f"{', '.join(lacks)} not installed: apt-get install iproute2 util-linux")
    if subprocess.run(["unshare", "--net", "true"], capture_output=True).returncode:
        pytest.skip("a network namespace needs root")
    return Namespace(tmp_path)


@pytest.mark.slow
@pytest.mark.environments
def test_without_a_network_the_pipeline_runs_a_receipt_is_reproduced_and_prod_answers(
    namespace, tmp_path
):
    from tests.test_end_to_end import run

    home = tmp_path / "at_home"
    home.mkdir()
    mlflow = ("mlflow", "run", str(ROOT), "--env-manager", "local")
    for given in (
        (*mlflow, "-P", "hydra_options=main.env_manager=uv"),
        ("mlflow", "run", str(ROOT / "serving"), "-e", "promote", "--env-manager", "local"),
        (*mlflow, "-e", "bundle", "-P", f"output={tmp_path}/bundle.tar"),
    ):
        done = run(home, *given)
        assert done.returncode == 0, done.stdout + done.stderr
    shutil.rmtree(home)

    namespace.run("tar xf bundle.tar unbundle.py")
    said = namespace.run("python3.11 unbundle.py --bundle=bundle.tar --folder=project")
    assert "songs_demo/receipt:v0" in said
    inside = "cd project; . .venv/bin/activate; "
    said = namespace.run(f"{inside} mlflow run . --env-manager uv")
    assert said.count("done in") == 6, said
    assert "receipt: songs_demo/receipt" in said
    reproduce = "-e reproduce -P env_manager=uv -P receipt=songs_demo/receipt:v0"
    said = namespace.run(f"{inside} mlflow run . --env-manager uv {reproduce}")
    assert "\nreproduced: 7 of 7 artifacts" in said, said
    namespace.run(inside + ASK)
    card = json.loads((tmp_path / "project" / "model.json").read_text())
    assert card["version"] == MODEL
    assert os.listdir(namespace.folder / "home")  # its caches and environments, and nobody else's
