"""The local backend: everything in an embedded store, without a server or an account."""

from util_lib.tracking.local.active import active_run
from util_lib.tracking.local.api import Api
from util_lib.tracking.local.artifact import Artifact
from util_lib.tracking.local.image import Image
from util_lib.tracking.local.run import Run, init

__all__ = ["Api", "Artifact", "Image", "Run", "active_run", "init"]
