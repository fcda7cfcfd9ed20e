"""Projects beside the pipeline, each one run by itself."""
