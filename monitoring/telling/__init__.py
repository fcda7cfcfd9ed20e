"""What the monitor says: verdicts, a page, metrics, messages."""
