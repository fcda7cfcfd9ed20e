"""What decides that a step's code is unchanged, also where it is written in an unusual way."""

import datetime
import hashlib
import itertools
import subprocess
from pathlib import Path

import pytest

from pipeline.caching import fingerprint, imports
from pipeline.planning.step import Step
from pipeline.settings import overrides, resolvers, schema
from pipeline.settings.schema import Settings
from util_lib.project import ROOT

SYNC, NAMES = "util_lib/tracking/sync/sending.py", "util_lib/tracking/names.py"
MLPROJECT = "entry_points: {main: {command: python run.py}}\n"


@pytest.fixture(scope="module")
def settings() -> Settings:
    resolvers.register_resolvers()
    return schema.check(overrides.base_config([]))


@pytest.fixture
def parts(settings, tmp_path):
    """Return what the fingerprint of a step with these files is made of."""
    numbers = itertools.count()

    def _parts(**files: str) -> dict[str, str]:
        folder = tmp_path / str(next(numbers)) / "join"
        for name, text in {"MLproject": MLPROJECT, **files}.items():
            path = folder / name.replace("__", "/", 1)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        step = Step("join", {}, (), (), str(folder))
        return fingerprint.parts(step, settings, "here", {}, "")

    return _parts


def shared(found: dict[str, str]) -> set[str]:
    return {name for name in found if name.startswith("util_lib/")}


@pytest.mark.parametrize(
    "code",
    [
        "def broken(:\n",
        "import importlib\nimportlib.import_module(f'util_lib.{name}')\n",
        "__import__('util_lib.tracking.' + name)\n",
        "exec('from util_lib import tracking')\n",
    ],
)
def test_code_whose_imports_cannot_be_told_depends_on_all_of_util_lib(parts, code):
    assert {SYNC, NAMES} <= shared(parts(**{"run.py": code}))


@pytest.mark.parametrize(
    "code",
    [
        "import util_lib.tracking.names\n",
        "def late():\n    from util_lib.tracking import names\n",
        "import importlib\nimportlib.import_module('util_lib.tracking.names')\n",
        "import importlib\nimportlib.import_module('.tracking.names', package='util_lib')\n",
        "__import__('util_lib.tracking.names')\n",
    ],
)
def test_code_that_names_a_module_depends_on_that_one(parts, code):
    found = shared(parts(**{"run.py": code}))
    assert NAMES in found and SYNC not in found


def test_imports_of_a_package_are_followed_however_they_are_written(tmp_path):
    files = {
        "__init__.py": "",
        "alone.py": "",
        "a/__init__.py": "from . import first\nfrom .inner import deep\n",
        "a/first.py": "from .second import word\n",
        "a/second.py": "from ..a.inner.deep import word\n",
        "a/page.dark.css": "",
        "a/page.py": "",
        "a/inner/__init__.py": "",
        "a/inner/deep.py": "from ... import top\nfrom .. import page\n",
        "top.py": "",
    }
    for name, text in files.items():
        path = tmp_path / "util_lib" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    found = imports.modules(tmp_path)
    step = tmp_path / "run.py"

    def reached(text: str) -> set[str]:
        step.write_text(text)

        def imported(path: Path, module: str) -> frozenset[str]:
            return imports.imported_by(path, module, found, lambda p: imports.read(p.read_bytes()))

        return imports.reached([step], found, imported)

    everything = {*found} - {"util_lib.alone"}
    assert len(found) == 9 and reached("import util_lib.a") == everything
    assert reached("from util_lib.a.inner.deep import word") == everything
    for text in (
        "import util_lib.top",
        "import util_lib.top\nimport re",
        "import re, util_lib.top",
    ):
        assert reached(text) == {"util_lib", "util_lib.top"}
    late = "import importlib, util_lib.top\nimportlib.import_module('.alone', 'util_lib')"
    assert reached(late) == {"util_lib", "util_lib.alone", "util_lib.top"}
    assert reached("from . import top\nfrom .util_lib import a") == set()
    package = tmp_path / "util_lib" / "a"
    assert imports.beside(tmp_path) == {package / "page.py": [package / "page.dark.css"]}


def test_values_of_a_steps_files_count_by_the_keys_that_they_come_from(settings):
    columns = {"tempo": {"max": 250, "min": None}}
    step = Step(
        "join",
        {"n": "1", "songs": "songs:latest", "url": "x.csv"},
        ("songs:latest",),
        (),
        "join",
        files={"dataset": {"columns": columns, "day": datetime.date(2026, 1, 2)}},
        source="url",
        keys={"n": "data.n", "dataset.columns": "data.columns"},
    )
    assert fingerprint.settings_of(step) == {
        "data.n": "1",
        "data.columns.tempo.max": "250",
        "data.columns.tempo.min": "null",
        "dataset.day": '"2026-01-02"',
    }


def test_code_of_a_repository_is_known_by_the_commit_that_its_version_names(settings, tmp_path):
    def git(*words: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.test")
        options = {"cwd": tmp_path, "check": True, "capture_output": True, "text": True}
        return subprocess.run(["git", *identity, *words], **options).stdout.strip()

    def code(uri: str, version: str | None) -> str:
        step = Step("join", {}, (), (), uri, version=version)
        return fingerprint.parts(step, settings, "here", {}, "")["code"]

    git("init", "--initial-branch=main")
    git("commit", "--allow-empty", "-m", "one")
    git("tag", "v1")
    first = git("rev-parse", "HEAD")
    git("commit", "--allow-empty", "-m", "two")
    second = git("rev-parse", "HEAD")
    uri = f"{tmp_path.as_uri()}#join"
    assert code(uri, None) == f"{uri} {second}"
    assert code(uri, "v1") == f"{uri} {first}" and code(uri, "main") == f"{uri} {second}"
    assert code(uri, "f" * 40) == f"{uri} {'f' * 40}"  # nobody is asked
    assert code(str(tmp_path), "v1") == f"{tmp_path} {first}"  # not what lies in the folder now
    with pytest.raises(fingerprint.UnknownFingerprint, match="say what its version v9 is now"):
        code(uri, "v9")


def test_the_code_of_rooms_of_this_project_is_told_file_by_file():
    found = fingerprint.code_files("get_data", "evaluate")
    assert {"get_data/run.py", "evaluate/MLproject"} < {
        *found
    } and "get_data/README.md" not in found
    text = (ROOT / "get_data" / "run.py").read_bytes()
    assert found["get_data/run.py"] == hashlib.sha256(text).hexdigest()


def test_parts_in_another_order_are_the_same():
    one, two = {"x": "1", "y": "2"}, {"y": "2", "x": "1"}
    assert fingerprint.digest(one) == fingerprint.digest(two) != fingerprint.digest({"x": "1"})


def test_files_of_the_steps_own_folder_count_however_they_are_imported(parts):
    files = {"run.py": "import inner\n", "inner____init__.py": "from . import words\n"}
    one = parts(**files, **{"inner__words.py": "one\n"})
    two = parts(**files, **{"inner__words.py": "two\n"})
    assert fingerprint.difference(one, two) == "join/inner/words.py changed"
    assert not shared(one)


def test_a_step_may_be_a_shell_script(parts):
    one, two = (parts(**{"run.sh": f"echo {word}\n", "table.sql": "select\n"}) for word in "ab")
    assert fingerprint.difference(one, two) == "join/run.sh changed"
    assert {"join/run.sh", "join/table.sql"} <= {*one} and not shared(one)
    assert {SYNC, NAMES} <= shared(parts(**{"run.sh": "python -m util_lib.tracking sync\n"}))


def test_words_for_people_and_what_programs_leave_do_not_count(parts):
    plain = parts(**{"run.py": "pass\n"})
    more = {"README.md": "read", "run.log": "ran", "outputs__x.csv": "1", ".cache__x": "1"}
    more |= {"__pycache__/x": "1", "inner____pycache__/x": "1"}
    assert parts(**{"run.py": "pass\n"}, **more) == plain


def test_a_linked_folder_counts_as_if_it_lay_there(settings, tmp_path):
    def found(word: str) -> dict[str, str]:
        place = tmp_path / word
        for name in ("join", "common"):
            (place / name).mkdir(parents=True)
        (place / "common" / "shared.py").write_text(word)
        (place / "join" / "common").symlink_to(Path("..", "common"))
        (place / "common" / "round").symlink_to(place / "join")
        return fingerprint.parts(
            Step("join", {}, (), (), str(place / "join")), settings, "", {}, ""
        )

    assert fingerprint.difference(found("a"), found("b")) == "join/common/shared.py changed"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("in/ sha256 1", "in/ sha256 2", "the content of data.file_url (in/) changed"),
        ("in/ sha256 1", "to/ sha256 1", "data.file_url in/ -> to/"),
        ("a" * 90, "a" * 91, "data.file_url changed"),
    ],
)
def test_the_same_words_twice_are_no_reason(old, new, said):
    assert fingerprint.difference({"data.file_url": old}, {"data.file_url": new}) == said


def test_inputs_are_said_before_settings_and_those_before_code_and_three_in_all():
    names = ["a/run.py", "b/run.py", "data.x", "input a/songs", "input tables"]
    before, now = dict.fromkeys(names, "1"), dict.fromkeys(names, "2")
    said = "input a/songs 1 -> 2, input tables 1 -> 2, data.x 1 -> 2"
    assert fingerprint.difference(before, now) == f"{said} and 2 more"
    gone = {name: now[name] for name in names[1:3]}
    assert fingerprint.difference({"a/run.py": "1"}, gone) == (
        "data.x (none) -> 2, a/run.py is gone, b/run.py is new"
    )
    four = [{name: each[name] for name in names[:4]} for each in (before, now)]
    assert fingerprint.difference(*four).endswith("data.x 1 -> 2, a/run.py changed and 1 more")
    assert fingerprint.difference(now, now) == "its outcome is no longer recorded"
    long = {"data.x": "x" * 60}, {"data.x": "y" * 61}
    assert fingerprint.difference(*long) == f"data.x {'x' * 60} -> {'y' * 57}..."


def test_the_template_of_a_page_counts_for_steps_that_write_it_and_for_no_others(parts):
    found = shared(parts(**{"run.py": "from util_lib.pages import page\n"}))
    assert {
        "util_lib/pages/page.py",
        "util_lib/pages/page.html",
        "util_lib/pages/page.css",
    } <= found
    assert "util_lib/tracking/graph.html" not in found
    assert not {name for name in shared(parts(**{"run.py": "import re\n"})) if "page" in name}
