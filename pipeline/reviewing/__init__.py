"""What a change does to the pipeline: both commits run, side by side."""
