"""The web service: what it answers, whom it lets in, what it counts."""
