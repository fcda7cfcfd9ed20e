"""The local backend: everything in an embedded store, without a server or an account."""

from util_lib.tracking.api import Api
from util_lib.tracking.artifact import Artifact
from util_lib.tracking.media import Image
from util_lib.tracking.run import Run, active_run, init

__all__ = ["Api", "Artifact", "Image", "Run", "active_run", "init"]
