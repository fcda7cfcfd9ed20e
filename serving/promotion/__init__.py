"""Whether a version may become `prod`: measured beside the one that is."""
