"""A bundle for a machine without network: code, packages, artifacts; made and packed."""
