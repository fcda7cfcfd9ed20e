"""Makes tables as people write them, and drafts them."""

import numpy as np

N = 200
RANDOM = np.random.default_rng(5)
X = RANDOM.normal(size=N)
LEFT = np.where(X > 0, "yes", "no")


def rows(*columns, separator=",", header=None):
    """Write columns as lines, each value as it is."""
    names = header or [*(f"c{number}" for number in range(len(columns) - 1)), "left"]
    lines = [separator.join(names)]
    lines += [separator.join(map(str, row)) for row in zip(*columns, strict=True)]
    return "\n".join(lines) + "\n"


def drafted(drafts, content, file="table.csv", target="left"):
    """Return the declaration, the table read by it, and the text of the draft."""
    drafts.table(content, file)
    data, frame = drafts.read(file, target)
    text = drafts.text(file.partition(".")[0])
    return data, frame, " ".join(text.replace("# ", "").split())  # comments go over several lines
