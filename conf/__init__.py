"""Configuration files; a package so that Hydra finds `dataset=<name>` here from anywhere."""
