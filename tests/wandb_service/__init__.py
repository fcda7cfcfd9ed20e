"""A test double of the W&B service, for the genuine client on loopback. See README.md here."""
