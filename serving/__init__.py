"""A model in use: promoted, served, asked in batch."""
