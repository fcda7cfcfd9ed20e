"""What a model was asked and what it answered, recorded for the monitor."""
