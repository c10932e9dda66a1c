"""Scanned images: what a file is, what it may be called and, in a limited process, what it becomes."""

from postscan.device.imaging.limits import MAX_PAGES, MAX_PIXELS, WorkerLimits
from postscan.device.imaging.loading import identify, load
from postscan.device.imaging.scanned import ScannedImage

__all__ = ["MAX_PAGES", "MAX_PIXELS", "ScannedImage", "WorkerLimits", "identify", "load"]
