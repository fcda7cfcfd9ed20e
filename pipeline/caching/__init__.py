"""Whether a step must run again, and what it made when it last did."""
