"""Tasks in other processes, as jobs of submitit and on Ray come to what they do in this process."""

import logging
import os
import signal
import subprocess
import sys
from functools import partial

import psutil
import pytest

from util_lib.errors import UserError
from util_lib.processes import tasks
from util_lib.project import ROOT


def double(number):
    logging.getLogger("tests").info("doubled %d", number)
    return number * 2


def refuse_odd(number):
    if number % 2:
        raise UserError(f"{number} is odd")
    return number


def killed_once(folder, number):
    """End this process the first time that it comes to number 2."""
    if number == 2 and not (folder / "begun").exists():
        (folder / "begun").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def always_killed(_number):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope="module")
def two():
    """Two processes that stay."""
    with tasks.team("2") as each:
        yield each


def test_results_and_what_was_logged_come_in_order(two, caplog):
    caplog.set_level("INFO")
    assert two(double, range(5)) == tasks.here(double, range(5))
    said = [record.getMessage() for record in caplog.records if record.name == "tests"]
    assert said == [f"doubled {number}" for number in range(5)] * 2


def test_the_first_error_of_several_is_raised(two):
    with pytest.raises(UserError, match="^3 is odd$"):
        two(refuse_odd, [2, 4, 3, 6, 5])


def test_a_task_whose_process_was_killed_is_begun_again(two, tmp_path, caplog):
    assert two(partial(killed_once, tmp_path), [2, 3, 4]) == [2, 3, 4]
    assert "a process ended in the middle of its task: it is begun again" in caplog.text


def test_a_task_that_always_loses_its_process_comes_to_an_end(two):
    with pytest.raises(UserError, match="1 of 1 tasks lost their process 3 times"):
        two(always_killed, [1])


def test_processes_end_with_the_one_that_started_them(tmp_path):
    script = tmp_path / "start.py"
    script.write_text(
        "import time\n"
        "from util_lib.processes import tasks\n"
        "if __name__ == '__main__':\n"
        "    with tasks.team('2') as each:\n"
        "        each(abs, [1, 2])\n"
        "        print('ready', flush=True)\n"
        "        time.sleep(600)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        children = psutil.Process(process.pid).children(recursive=True)
        assert children
        process.kill()
        process.wait()
    psutil.wait_procs(children, timeout=60)
    assert not [child for child in children if child.is_running()]


def test_a_machine_that_does_not_see_a_folder_is_refused(tmp_path):
    with tasks.team("2", [tmp_path / "elsewhere"]) as each:
        with pytest.raises(UserError, match=f"does not see {tmp_path}/elsewhere: put it on a disk"):
            each(double, [1])


@pytest.mark.parametrize("text", ["0", "-1", "many", "ray", "ray:", "slurm:x", "4:2"])
def test_workers_that_are_none_are_refused_with_those_there_are(text):
    with pytest.raises(UserError, match=f"slurm:64 or ray:HOST:PORT, found '{text}'"):
        tasks.workers(text)


def test_one_worker_is_this_process():
    assert tasks.workers("1") is tasks.workers("null") is tasks.workers(None) is None


def test_the_code_of_a_model_that_comes_first_is_not_taken_for_ours(tmp_path, monkeypatch):
    (tmp_path / "util_lib").mkdir()
    (tmp_path / "util_lib" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    with tasks.team("2") as each:
        assert each(double, [1, 2]) == [2, 4]
