"""The composed configuration: its words on the command line, its checked shape."""
