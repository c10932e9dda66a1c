"""Errors of the device's image side."""

from __future__ import annotations

from typing import ClassVar

from postscan.core.errors import INVALID_ARGS, FaultKind, PostscanError


class ImageError(PostscanError):
    """A file is no image that can be sent, or cannot be made into the format that was asked for."""

    fault: ClassVar[FaultKind] = INVALID_ARGS
    advice: ClassVar[str] = "Give JPEG, PNG, TIFF, BMP, JPEG 2000 or PDF files."
    exit_code: ClassVar[int] = 4
