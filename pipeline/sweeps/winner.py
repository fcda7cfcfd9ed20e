"""The end of a sweep: its winner is logged and evaluated, its trials are shown as a table."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from pipeline.planning.plan import plan
from pipeline.planning.step import Step
from pipeline.running.screen import Screen
from pipeline.settings.schema import Settings
from pipeline.sweeps import mlflow_runs, record, shared_steps, warm_worker
from pipeline.sweeps import trial as sweep_trial
from pipeline.sweeps.context import Sweep
from pipeline.sweeps.leaderboard import ranking, report
from pipeline.sweeps.record import Trial
from pipeline.sweeps.space import Composer, trial_step
from util_lib import safe_files, tracking
from util_lib.errors import UserError
from util_lib.model import metric_names

if TYPE_CHECKING:
    from mlflow import MlflowClient

GROUP = "best"  # of config files: `+best=<sweep>` composes with a winner's parameters
PARAMETERS_ARTIFACT = "best_parameters"
HEADER = """\
# @package {section}
# The winner of the sweep {name}, trial {number}: {metric} {value:.4f}.
# As a single run: python main.py +{group}={name}{others}
"""


class Ending:
    """What is done when the trials of a sweep are over, and what is shown of them."""

    def __init__(self, sweep: Sweep, base: Settings, compose: Composer) -> None:
        """Keep what is known before the first trial."""
        self._sweep, self._base, self._compose = sweep, base, compose
        self._project = base.main.project_name
        self._winner: Trial | None = None
        self._runs: list[str] = []

    def finish(self, screen: Screen) -> None:
        """Choose the winner, fit it again, log its model and measure that on the test rows.

        The test rows are looked at here alone, once: who picks a model by them learns nothing.
        """
        found = record.trials(self._project, self._sweep.name)
        sweep = ranking.ordered(self._project, self._sweep.name, found, self._sweep.question)
        winner = self._winner = record.best(sweep.trials, self._sweep.objectives)
        if not winner:
            return
        settings = self._compose(*winner.sweep["arguments"])
        steps = plan(settings)
        training = trial_step(settings, steps)
        before = steps[: steps.index(training)]
        if len(self._sweep.made) > len(before) and settings.main.cache:
            # Trials read several tables: what comes later finds those of the winner as the latest.
            shared_steps.run_steps(settings, before, screen)
        text = self._write_parameters(screen, winner, training)
        export = next(iter(training.outputs), None)
        if not export:
            return
        made = winner.sweep["made"]
        made = {name.removesuffix(":latest"): version for name, version in made.items()}
        about = {key: winner.sweep[key] for key in ("name", "overrides", "arguments", "question")}
        about |= {"winner": winner.number, "objectives": self._sweep.objectives}
        screen.now("fitting the winner again, to export it")
        request = sweep_trial.training_request(self._sweep, about, settings, training, made, export)
        answer = warm_worker.worker(self._sweep.python, self._sweep.uri).ask(
            request
            | {
                "threads": None,  # nothing runs beside it
                "parameters_file": text,
                "parameters_artifact": PARAMETERS_ARTIFACT,
                "summary": winner.summary,
            }
        )
        if answer["state"] != "finished":
            raise UserError(f"the winner could not be logged: {answer['error']}")
        self._runs.append(answer["run"])
        screen.say(f"winner: trial {winner.number}, {', '.join(answer['artifacts'])}")
        made |= {name.partition(":")[0]: name for name in answer["artifacts"]}
        after = steps[steps.index(training) + 1 :]
        if after:
            digests = shared_steps.chain(before)
            for digest in digests:
                names = self._sweep.made.get(digest, [])
                made |= {name.partition(":")[0]: name for name in names}
            for outcome in shared_steps.run_steps(settings, after, screen, made):
                if outcome.outcome == "cached":  # else the step itself said so
                    for line in metric_names.lines(outcome.metrics):
                        screen.say(f"{outcome.step}: {line}")
        with tracking.whole_step():
            version, run_id = report.log(sweep)
        self._runs.append(run_id)
        screen.closing.append(f"the leaderboard as a page: {version}")

    def _write_parameters(self, screen: Screen, winner: Trial, training: Step) -> str:
        """Write the winner's parameters where `+best=<sweep>` finds them; return the text."""
        name, section = self._sweep.name, training.keys["model_config"]
        folder = Path(os.environ.get("PIPELINE_HOME", "."), "conf", GROUP)
        others = [
            argument
            for argument in winner.sweep["arguments"]
            if not argument.lstrip("+~").startswith(f"{section}.")
        ]
        metric = self._sweep.objectives[0]
        text = HEADER.format(
            section=section,
            name=name,
            number=winner.number,
            metric=metric,
            value=winner.value(metric),
            group=GROUP,
            others="".join(f" {argument}" for argument in others),
        )
        text += yaml.safe_dump(training.files["model_config"], sort_keys=False, allow_unicode=True)
        path = folder / f"{name}.yaml"
        with safe_files.writing(path, "the winner's parameters were not written"):
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        screen.closing.append(f"the winner's parameters: {path} (python main.py +{GROUP}={name})")
        return text

    def publish(self, client: "MlflowClient") -> None:
        """Show the trials, and the run that logged the winner, in MLflow below the sweep's run."""
        mlflow_runs.publish(client, self._sweep, self._project, self._runs)

    def show(self, screen: Screen) -> None:
        """Print the trials, best first; what has no result comes last."""
        try:
            found = record.trials(self._project, self._sweep.name)
        except UserError as error:
            if self._sweep.made:  # else no step has run, and no store was made yet
                screen.say(f"the trials cannot be read: {error}")
            return
        if found:
            name = self._sweep.name
            # none where it ended before its steps were done
            question = self._sweep.question or record.latest_question(self._project, name)
            report.show(ranking.ordered(self._project, name, found, question), screen)

    def refuse_failures(self) -> None:
        """Raise `UserError` where a trial failed: the others count, and the exit code says so."""
        found = record.trials(self._project, self._sweep.name, self._sweep.question)
        failed = [trial for trial in found if trial.state not in ("finished", "pruned")]
        if not failed:
            return
        first = failed[0]
        why = first.summary.get("error", first.state)
        values = record.described(first.overrides)
        raise UserError(
            f"{len(failed)} of {len(found)} trials of the sweep {self._sweep.name} did not finish; "
            f"the first, trial {first.number} ({values}): {why}"
        )
