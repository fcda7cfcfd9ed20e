"""A model in use, watched: what it was asked and answered, window by window."""
