"""Ask a model for its answers, by the code that travels with it and by none of this project's.

    python -I answers.py MODEL_DIRECTORY ROWS ANSWERS

A program of its own: two versions of a model may need two versions of the same code. The rows are a
pickled table of the model's features; the answers are pickled (classes or None, an array).
"""

import pickle
import sys
from pathlib import Path
from typing import Any


def load(directory: Path) -> Any:
    """Return the pipeline in a model directory; whoever asks has just trained it and trusts it."""
    import yaml

    about = yaml.safe_load((directory / "MLmodel").read_text(encoding="utf-8"))
    flavor = about["flavors"]["sklearn"]
    sys.path.insert(0, str(directory / flavor["code"]))
    file = directory / flavor["pickled_model"]
    if flavor["serialization_format"] == "skops":
        from skops import io

        return io.load(file, trusted=io.get_untrusted_types(file=file))
    import cloudpickle

    return cloudpickle.loads(file.read_bytes())


def main(directory: str, rows: str, answers: str) -> None:
    """Load the model, ask it about the rows and write what it says."""
    model = load(Path(directory))
    frame = pickle.loads(Path(rows).read_bytes())
    classes = getattr(model, "classes_", None)
    said = model.predict(frame) if classes is None else model.predict_proba(frame)
    Path(answers).write_bytes(pickle.dumps((classes, said)))


if __name__ == "__main__":
    main(*sys.argv[1:])
