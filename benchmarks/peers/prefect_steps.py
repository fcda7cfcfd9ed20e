"""Six tasks in Prefect: each adds one to the number of the task before it, results are cached."""

from prefect import flow, task
from prefect.cache_policies import INPUTS, TASK_SOURCE


@task(cache_policy=INPUTS + TASK_SOURCE, persist_result=True)
def add_one(number: int) -> int:
    """Return the next number."""
    return number + 1


@flow
def six() -> None:
    """Run six tasks, one after the other."""
    number = 0
    for _ in range(6):
        number = add_one(number)


if __name__ == "__main__":
    six()
