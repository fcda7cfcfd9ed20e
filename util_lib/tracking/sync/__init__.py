"""What the embedded store has, sent to W&B, and the other way round."""
