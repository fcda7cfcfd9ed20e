"""Trials on other machines, by Ray or Slurm."""
