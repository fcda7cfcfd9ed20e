"""What the steps and `serving` share; importing this package alone imports nothing heavy."""
