"""Draft the dataset file of a table."""
