"""A tick of the pipeline, for Airflow 3: copy this file into its DAG folder.

Airflow only calls the command; whether there is anything to do is the command's to say. A refusal
(exit codes 2 and 3) fails the task and is not tried again: nothing changes before new data come.
"""

import os
import shlex

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG
from pendulum import datetime

FOLDER = os.environ.get("PIPELINE_FOLDER", "/srv/pipeline")
OPTIONS = os.environ.get("PIPELINE_OPTIONS", "dataset=songs_demo")
COMMAND = (".venv/bin/python", "-m", "pipeline.commands.update", f"--hydra_options={OPTIONS}")

with DAG(
    dag_id="pipeline_update",
    description="Train, test and promote if there is a reason to",
    schedule="17 5 * * 1",
    start_date=datetime(2026, 1, 5),
    catchup=False,  # the newest data are what counts; a backfill is the command's own
    max_active_runs=1,
) as dag:
    BashOperator(
        task_id="update",
        bash_command=shlex.join(COMMAND),
        cwd=FOLDER,
        append_env=True,
        retries=0,
    )
