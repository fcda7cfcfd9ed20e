from tests.util_lib.tracking.conftest import empty_directory, store, tracking

__all__ = ["empty_directory", "store", "tracking"]
