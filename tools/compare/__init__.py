"""Say where two versions of an artifact first differ."""
