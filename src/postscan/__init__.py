"""Postscan: Distributed Scan Management, all four roles."""

from importlib.metadata import version

__version__ = version("postscan")
