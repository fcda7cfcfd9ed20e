"""How sure a score is, and how sure a difference between two."""
