"""What the monitor keeps: rows, labels and the history of windows."""
