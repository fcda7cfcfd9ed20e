"""A pipeline run: its steps as processes, side by side, shown on a screen, stopped together."""
