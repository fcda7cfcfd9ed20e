"""Which changes of the code no test notices: mutmut changes one thing after the other.

    python benchmarks/mutations.py expressions      # half an hour; tables, store: hours
    python benchmarks/mutations.py caching --only decision
    python benchmarks/mutations.py store --only values x_key__mutmut_3 "x_read__mutmut_*"

Works on a copy of what is committed, with the quick tests of the chosen part alone, one change at
a time. Needs uv, which gets mutmut for this command. Prints each change that survived as a
difference, then how many there were of each function. Names are those that it printed before.
"""

import argparse
import collections
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MUTMUT = "mutmut==3.8.1"
# A text becomes another one; that in other letters too adds little, and SQL stays the same.
CALL = """
import itertools, libcst
from mutmut.__main__ import cli
from mutmut.mutation.mutators import mutation_operators as operators, operator_string
place = operators.index((libcst.BaseString, operator_string))
operators[place] = (libcst.BaseString, lambda node: itertools.islice(operator_string(node), 1))
cli()
"""
CACHING = "tests/pipeline/caching"
STORE, REMOVAL = "tests/util_lib/tracking", "tests/pipeline/housekeeping/test_removal.py"
# In names of tests: what starts processes, a browser, W&B's client, or needs a minute.
TOO_SLOW = ("at_once", "[wandb", "still_shown", "the_page", "a_figure", "no_more_memory")
TOO_SLOW += ("first_schema", "images_come", "is_away", "nothing_heavy", "living_child")
# What the tests of the copy do besides. That a drawn example fails is enough, looking for the
# smallest takes minutes, and others come first. What was loaded before a process forked is not
# looked through for what can be freed. While mutmut asks which test reaches what, processes that
# tests start are left alone. What was remembered is forgotten, or only one test would compute it.
BESIDES = """
import gc, hypothesis, os, sys
from mutmut.mutation.trampoline import get_mutant_under_test
gc.freeze()
hypothesis.settings.register_profile("once", phases=[hypothesis.Phase.generate], database=None)
hypothesis.settings.load_profile("once")

def pytest_collection_modifyitems(items):
    def takes_long(item):
        others = {"python", "answer", "bucket"} & {*item.fixturenames}  # processes
        return bool(others) or hasattr(item.obj, "hypothesis")
    items.sort(key=takes_long)

def pytest_runtest_setup():
    if get_mutant_under_test() == "stats":
        os.environ.pop("MUTANT_UNDER_TEST", None)
        pytest_sessionfinish()

def pytest_sessionfinish():
    for module in [*sys.modules.values()]:
        if str(getattr(module, "__file__", "")).startswith(os.getcwd()):
            for member in vars(module).values():
                getattr(member, "cache_clear", int)()
"""
ASKED = (
    "get_data/test_partitions.py::test_only_the_files_that_are_taken_count_for_the_cache",
    "get_data/test_buckets.py::test_the_cache_knows_a_file_by_its_etag",
    "util_lib/tracking/store/test_store_in_a_bucket.py::test_a_content_that_is_gone_there_is_said_or"
    "_put_there_again",
)
# What is changed, and the tests that are to notice.
PARTS = {
    "expressions": (
        ["util_lib/dataset/expressions.py", "util_lib/tables/computing.py"],
        ["tests/util_lib/dataset/test_expressions.py", "tests/util_lib/tables/test_computing.py"],
    ),
    "tables": (["util_lib/tables/*.py"], ["tests/util_lib/tables"]),
    "caching": (
        ["pipeline/caching/*.py"],
        [f"{CACHING}/test_{name}.py" for name in ("fingerprint", "record", "way", "decision")]
        + [f"tests/{name}" for name in ASKED],
    ),
    "wandb": (
        ["pipeline/caching/versions_on_wandb.py"],
        [f"{CACHING}/test_versions_on_wandb.py"],
    ),
    "store": (
        ["util_lib/tracking/store/*.py"],
        # Without those that start several processes: test_concurrency.py, test_kills.py.
        [f"{STORE}/store/test_{name}.py" for name in ("store", "damage", "digests")]
        + [f"{STORE}/store/test_store_in_a_bucket.py", f"{STORE}/local", REMOVAL]
        + [f"{STORE}/test_contract.py", f"{STORE}/test_graph.py"],
    ),
    # What each test of the store passes through: whoever notices a change of it is soon asked.
    "store_quick": (
        ["util_lib/tracking/store/*.py"],
        [f"{STORE}/store/test_store.py", f"{STORE}/store/test_damage.py", f"{STORE}/local"],
    ),
    "store_bucket": (
        ["util_lib/tracking/store/*.py"],
        [f"{STORE}/store/test_store_in_a_bucket.py"],
    ),
}


def main() -> None:
    """Change the code of one part, and tell which changes its tests did not notice."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--only", default="", help="of the part only the module of this name")
    parser.add_argument("names", nargs="*", help="only these changes, such as x_key__mutmut_3")
    args = parser.parse_intermixed_args()
    changed, tests = PARTS[args.part]
    if args.only:
        changed = [str(Path(pattern).with_name(f"{args.only}.py")) for pattern in changed]
    with tempfile.TemporaryDirectory() as folder:
        copy(Path(folder), changed, tests)
        names = [f"*.{name}" for name in args.names]
        run = mutmut("run", "--max-children", "1", *names)
        subprocess.run(run, cwd=folder, check=False, env=surroundings())
        told(folder)


def copy(folder: Path, changed: list[str], tests: list[str]) -> None:
    """Write the committed files into `folder`, with mutmut's settings."""
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, stdout=subprocess.PIPE)
    subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
    rooms = {pattern.partition("/")[0] for pattern in changed}
    others = sorted(path.name for path in folder.iterdir() if path.name not in rooms)
    settings = {
        "source_paths": sorted(rooms),
        "only_mutate": changed,
        "also_copy": others,
        "pytest_add_cli_args_test_selection": tests,
        "pytest_add_cli_args": [
            *("-m", "not environments"),
            *("-k", " and ".join(f"not {part}" for part in TOO_SLOW)),
            *("-p", "no:unraisableexception", "-p", "no:threadexception"),
        ],
        "timeout_constant": ["2"],
        "timeout_multiplier": ["5"],
        "use_git_change_detection": ["false"],
    }
    lines = ["[mutmut]"]
    for key, values in settings.items():
        one = len(values) == 1 and key[:3] in ("tim", "use")
        lines.append(f"{key}={values[0]}" if one else f"{key}=")
        lines += [] if one else [f"    {value}" for value in values]
    (folder / "setup.cfg").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with (folder / "tests/conftest.py").open("a", encoding="utf-8") as conftest:
        conftest.write(BESIDES)


def told(folder: str) -> None:
    """Print the changes that no test noticed, and the figures."""
    answered = subprocess.run(
        mutmut("results", "--all", "true"),
        cwd=folder,
        check=True,
        env=surroundings(),
        capture_output=True,
        text=True,
    )
    results = re.findall(r"^\s*(\S+__mutmut_\d+): (.+)$", answered.stdout, re.MULTILINE)
    for name, result in results:
        if result in ("survived", "timeout", "suspicious"):
            print(f"\n{result}: {name}", flush=True)
            subprocess.run(mutmut("show", name), cwd=folder, check=False, env=surroundings())
    of_function = collections.defaultdict(collections.Counter)
    for name, result in results:
        of_function[name.rpartition("__mutmut_")[0]][result] += 1
    for function, found in sorted(of_function.items()):
        print(function, dict(found))
    print("all", dict(collections.Counter(result for _, result in results)))


def mutmut(*words: str) -> list[str]:
    """Return the command that calls mutmut beside the packages of this Python."""
    return ["uv", "run", "--quiet", "--no-project", "--with", MUTMUT, "python", "-c", CALL, *words]


def surroundings() -> dict[str, str]:
    """Let uv find the packages of this Python, and pytest look for no plugins: that takes long."""
    return {
        **os.environ,
        "VIRTUAL_ENV": sys.prefix,
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "REUSE_SEQUENCES": "1",
    }


if __name__ == "__main__":
    main()
