"""What a run was: written at its end, read again, compared."""
