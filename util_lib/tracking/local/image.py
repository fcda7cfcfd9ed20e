"""Images that a run logs."""

import os
import struct
from pathlib import Path
from typing import Any

from util_lib.errors import UserValueError


class Image:
    """A picture for `run.log`: a matplotlib figure, the path of a PNG, a PIL image or an array.

    An array has the shape (height, width), or (height, width, 1, 3 or 4); floats up to 1 are
    taken as fractions of full brightness. Arrays need pillow.
    """

    def __init__(self, data_or_path: Any, mode: str | None = None, caption: str | None = None):
        """Take the picture as it is when it is logged; a path is looked at right away."""
        self.caption = caption
        self._source = data_or_path
        self._mode = mode
        if isinstance(data_or_path, str | os.PathLike):
            path = Path(data_or_path)
            if not path.is_file():
                raise UserValueError(f"image {str(path)!r} is not a file; give the path of a PNG")
            with path.open("rb") as file:
                if file.read(8) != b"\x89PNG\r\n\x1a\n":
                    raise UserValueError(f"image {str(path)!r} is not a PNG; save it as PNG")

    def write(self, path: Path) -> dict[str, Any]:
        """Write the picture as a PNG file and return what is known of it."""
        source = self._source
        if isinstance(source, str | os.PathLike):
            path.write_bytes(Path(source).read_bytes())
        elif hasattr(source, "savefig"):
            # No date or version inside: the same figure gives the same bytes.
            source.savefig(path, format="png", metadata={"Software": None})
        elif hasattr(source, "save"):
            source.save(path, format="PNG")
        else:
            _from_array(source, self._mode).save(path, format="PNG")
        with path.open("rb") as file:
            width, height = struct.unpack(">II", file.read(24)[16:])
        known = {"format": "png", "width": width, "height": height, "size": path.stat().st_size}
        return known if self.caption is None else {**known, "caption": self.caption}


def as_image(value: Any) -> Image | None:
    """Return `value` as an image if it is one or a matplotlib figure, else None."""
    if isinstance(value, Image):
        return value
    return Image(value) if hasattr(value, "savefig") else None


def _from_array(array: Any, mode: str | None) -> Any:
    try:
        import numpy
        from PIL import Image as pillow
    except ImportError as error:
        raise UserValueError(
            f"an image of type {type(array).__name__} needs numpy and pillow ({error}); install "
            "them, or give a matplotlib figure or the path of a PNG"
        ) from error
    array = numpy.asarray(array)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise UserValueError(
            "an image must have the shape (height, width) or (height, width, 1, 3 or 4), "
            f"not {array.shape}"
        )
    if array.dtype == bool or (array.dtype.kind == "f" and array.size and array.max() <= 1):
        array = array * 255.0
    return pillow.fromarray(array.clip(0, 255).astype("uint8"), mode)
