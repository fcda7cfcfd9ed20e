"""What the service lets in at most."""

from dataclasses import dataclass

SMALL_BODY = 64_000  # bytes; longer ones are read in a process of their own


@dataclass(frozen=True)
class ServiceLimits:
    """What a request may cost."""

    body_bytes: int = 10_000_000
    rows: int = 10_000
    values: int = 10_000  # of a row
    text: int = 100_000  # characters of one value of a large body
    requests: int = 1_000  # at a time; health checks are answered beyond
    read_seconds: float = 10.0  # for reading a large body as a table
    body_seconds: float = 10.0  # for a client to send its body
    answer_seconds: float = 30.0  # from then on
    held_bytes: int = 200_000_000  # bodies of all requests together
