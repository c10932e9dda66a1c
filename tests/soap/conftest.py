"""What several test files of the room use."""

from __future__ import annotations

import pytest

from support.mtom import Reader


@pytest.fixture(scope="session")
def reader() -> type[Reader]:
    return Reader
