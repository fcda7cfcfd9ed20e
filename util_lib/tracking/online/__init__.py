"""The W&B client as a backend."""
