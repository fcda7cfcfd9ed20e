"""Notebooks on the tables that the pipeline has made: opened in Jupyter, or run and logged."""
