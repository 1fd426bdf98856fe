"""Pictures inside a page, so that one HTML file needs nothing else."""

import base64
import io
from pathlib import Path

from PIL import Image

__all__ = ["file_address", "picture_address"]

KINDS = {".png": "png", ".jpg": "jpeg"}


def file_address(file: Path) -> str:
    """A PNG or JPEG file as an address."""
    return f"data:image/{KINDS[file.suffix]};base64,{base64.b64encode(file.read_bytes()).decode()}"


def picture_address(picture: Image.Image, *, quality: int = 80) -> str:
    """A picture as the address of a JPEG."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
