"""What the tests of filters share."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.delivery import ShareSite


@pytest.fixture
def site(tmp_path: Path) -> ShareSite:
    return ShareSite(tmp_path / "site")
