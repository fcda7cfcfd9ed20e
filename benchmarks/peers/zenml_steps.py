"""Six steps in ZenML: each adds one to the number of the step before it."""

from zenml import pipeline, step


@step
def start() -> int:
    """Return the first number."""
    return 0


@step
def add_one(number: int) -> int:
    """Return the next number."""
    return number + 1


@pipeline
def six() -> None:
    """Run six steps, one after the other."""
    number = start()
    for _ in range(5):
        number = add_one(number)


if __name__ == "__main__":
    six()
