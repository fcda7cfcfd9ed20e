"""What `mlflow run . -e <name>` starts beside the pipeline, one file for each entry point."""
