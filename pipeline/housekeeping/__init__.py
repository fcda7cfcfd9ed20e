"""What nothing needs any more, found and removed."""
