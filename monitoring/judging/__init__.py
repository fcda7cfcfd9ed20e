"""How a window of recorded rows is judged: pure functions, no files."""
