"""The embedded store: a database of runs and versions beside their contents."""
