"""The steps' environments: made ahead, one at a time, and found when nothing needs them."""
