"""What the service lets in at most."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ServiceLimits:
    """What a request may cost."""

    body_bytes: int = 10_000_000
    rows: int = 10_000
    body_seconds: float = 10.0  # for a client to send its body
    answer_seconds: float = 30.0  # from then on
    held_bytes: int = 200_000_000  # bodies of all requests together
