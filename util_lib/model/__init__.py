"""A model: its configuration, its file, its scores and their figures."""
