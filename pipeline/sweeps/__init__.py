"""Many trials of one step: what frames them, what each one runs, which one wins."""
