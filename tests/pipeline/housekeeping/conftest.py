from tests.util_lib.tracking.conftest import answer, empty_directory, log_text, python, store

__all__ = ["answer", "empty_directory", "log_text", "python", "store"]
