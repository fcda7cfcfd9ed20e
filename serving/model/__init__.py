"""A served model, whoever asks: its rows checked, its answers computed."""
