"""The rows of files that are predicted, recorded in the monitoring log."""

import logging
import time
from collections import Counter
from collections.abc import Sequence

import pandas as pd

from serving.capture.batches import Record
from serving.capture.streams import Streams
from serving.model.served_model import ServedModel
from util_lib import monitoring_log

logger = logging.getLogger("serving")


class FileRecorder:
    """Records a share of the rows of files, drawn one by one; a disk that is full fails nothing."""

    def __init__(self, share: float):
        """Make the log if it is not there; `UserError` where it cannot be made."""
        self.share = share
        self.root = monitoring_log.folder()
        monitoring_log.make(self.root)
        self.recorded: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self._streams = Streams(self.root, share, self._count_recorded, self._count_lost)

    def take(
        self,
        served: ServedModel,
        request: str,
        numbers: Sequence[int],
        rows: pd.DataFrame,
        answers: pd.DataFrame,
        rejected: dict[int, str],
    ) -> None:
        """Record rows of the file whose id is `request`.

        `rows` are as the model took them, `answers` what it said, both with the places in `numbers`
        as index; `rejected` has the kind of refusal of the others, by number.
        """
        now, records = time.time(), []
        places = [place for place in answers.index if self._draws(request, numbers[place])]
        if places:
            found = answers.loc[places]
            chances = found.filter(regex="^probability_")
            record = Record(
                time=now,
                request=request,
                role=monitoring_log.BATCH,
                model=served,
                numbers=[numbers[place] for place in places],
                rows=rows.loc[places],
                labels=found["prediction"].tolist(),
                probabilities=None if chances.empty else chances.to_numpy(),
            )
            records.append(record)
        if refused := {n: kind for n, kind in rejected.items() if self._draws(request, n)}:
            of, kinds = [*refused], [*refused.values()]
            record = Record(now, request, monitoring_log.BATCH, served, of, rejected=kinds)
            records.append(record)
        self._streams.write(records)
        self._streams.rotate()

    def close(self) -> None:
        """End the streams, and say how many rows there are."""
        self._streams.close()
        logger.info("recorded %s rows in %s", f"{self.recorded.total():,}", self.root)
        for reason, n_rows in self.lost.items():
            logger.warning("%s rows were not recorded: %s", f"{n_rows:,}", reason)

    def _draws(self, request: str, number: int) -> bool:
        return monitoring_log.sampled(f"{request}:{number}", self.share)

    def _count_recorded(self, role: str, n_rows: int) -> None:
        self.recorded[role] += n_rows

    def _count_lost(self, reason: str, n_rows: int) -> None:
        self.lost[reason] += n_rows
