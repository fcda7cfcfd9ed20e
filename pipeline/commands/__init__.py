"""What `mlflow run . -e <name>` starts beside the pipeline, one file for each entry point."""

import sys

from util_lib.project import explain_missing_packages

if sys.argv[0] == "-m":  # `python -m` is about to run one of them
    explain_missing_packages()
