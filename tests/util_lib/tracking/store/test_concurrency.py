"""Many processes at one store lose nothing."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from util_lib import tracking
from util_lib.tracking.store.database import open_store

N_PROCESSES = 8
N_VERSIONS = 25

WRITER = f"""
import sys
from util_lib import tracking
sys.stdin.readline()
with tracking.init(project="p", job_type="write", name=sys.argv[1]) as run:
    for number in range({N_VERSIONS}):
        artifact = tracking.Artifact("shared", type="t")
        with artifact.new_file("a.txt") as file:
            file.write(f"{{sys.argv[1]}} {{number}}")
        with artifact.new_file("same.txt") as file:
            file.write("the same in every version")
        logged = run.log_artifact(artifact, aliases=[sys.argv[1]])
        run.log({{"number": number}})
        print(logged.version)
"""


@pytest.fixture
def together(python):
    """Give a function that runs a source in several processes at once: what each printed."""

    def run(source, n_processes):
        processes = [python(source, f"writer-{i}") for i in range(n_processes)]
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        answers = [process.communicate(timeout=300) for process in processes]
        assert [
            (process.returncode, err) for process, (_, err) in zip(processes, answers, strict=True)
        ] == [(0, "")] * n_processes
        return [out.split() for out, _ in answers]

    return run


def test_eight_writers_of_one_artifact_lose_no_version(together, store):
    printed = together(WRITER, N_PROCESSES)

    n_versions = N_PROCESSES * N_VERSIONS
    versions = store.versions("p", "shared")
    assert [version.number for version in versions] == [*reversed(range(n_versions))]
    assert sorted(v for out in printed for v in out) == sorted(f"v{n}" for n in range(n_versions))
    assert len({version.digest for version in versions}) == n_versions
    assert versions[0].aliases.count("latest") == 1
    assert all("latest" not in version.aliases for version in versions[1:])
    for number, out in enumerate(printed):
        held = tracking.Api().artifact(f"p/shared:writer-{number}")
        assert held.version == out[-1]
    assert all(store.damage(version) == [] for version in versions)
    runs = tracking.Api().runs("p")
    assert sorted(run.state for run in runs) == ["finished"] * N_PROCESSES
    assert all(len(run.history()) == N_VERSIONS for run in runs)
    assert all(len(run.logged_artifacts()) == N_VERSIONS for run in runs)


@pytest.mark.parametrize("attempt", range(3))
def test_a_fresh_store_is_opened_by_several_processes_at_once(together, tmp_path, attempt):
    together(
        """
import sys
from util_lib.tracking.local import run as _
from util_lib import tracking
sys.stdin.readline()
with tracking.init(project="p", name=sys.argv[1]):
    pass
""",
        6,
    )
    store = open_store()
    assert sorted(run.name for run in store.runs()) == [f"writer-{i}" for i in range(6)]
    assert sorted(run.number for run in store.runs()) == [1, 2, 3, 4, 5, 6]
    assert list(store.files.tmp.iterdir()) == []


def test_the_same_content_from_several_processes_is_one_version(together, store):
    together(
        """
import sys
from util_lib import tracking
sys.stdin.readline()
with tracking.init(project="p") as run:
    artifact = tracking.Artifact("shared", type="t")
    with artifact.new_file("a.txt") as file:
        file.write("the same")
    run.log_artifact(artifact)
""",
        6,
    )
    (version,) = store.versions("p", "shared")
    assert version.number == 0
    assert len(store.runs_of_version(version.id, "out")) == 6


def test_threads_of_one_process_share_a_run(store):
    def work(number):
        for step in range(10):
            artifact = tracking.Artifact("shared", type="t")
            with artifact.new_file("a.txt") as file:
                file.write(f"{number} {step}")
            run.log_artifact(artifact)
            run.log({"number": number})

    with tracking.init(project="p") as run, ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert len(store.versions("p", "shared")) == 40
    history = store.runs()[0].history()
    assert sorted(row["number"] for row in history) == sorted([*range(4)] * 10)
