"""A Postscan filter that puts documents onto a web server: the example of a filter of another package.

Every document of a job becomes ``FOLDER/JOB/NAME``, where JOB is the job's token. Nobody else writes there,
and PUT makes the same of a second try as of the first (RFC 9110, 9.2.2), so nothing is doubled and nothing of
others is overwritten, whenever the server or this process dies.
"""

from __future__ import annotations

from importlib import resources

from postscan.filters.contract import FilterKind
from postscan_filter_http_put.filter import DIALECT, make

KIND = FilterKind(
    name="http-put",
    dialect=DIALECT,
    make=make,
    schema=resources.files(__package__).joinpath("http-put.xsd").read_bytes(),
)

__all__ = ["KIND"]
