"""A sweep's trials in order: the table, the page and its pictures."""
