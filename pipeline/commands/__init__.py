"""What `mlflow run . -e <name>` starts beside the pipeline itself, one file for each entry point."""
