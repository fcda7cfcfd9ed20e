"""Processes: which still live, what they leave, how they are stopped."""
