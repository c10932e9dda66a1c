"""Every captured message is read as intended, or refused for a stated reason."""

from __future__ import annotations

import pytest

from samples import (  # noqa: F401 - declare expectations
    discovery,
    frames,
    metadata,
    published,
    requests,
    services,
)
from support.samples import EXPECTED, FOLDER, MISSING, sample_files

FILES = sample_files()
needs_samples = pytest.mark.skipif(not FILES, reason=MISSING)


@needs_samples
@pytest.mark.parametrize("path", FILES or ["nothing"])
async def test_a_captured_message_is_read_as_intended_or_refused_for_a_reason(path: str) -> None:
    expectation = EXPECTED.get(path)
    assert expectation is not None, f"{path} has no expectation: tests/samples has to say how it is read"
    await expectation((FOLDER / path).read_bytes())


@needs_samples
def test_every_expectation_is_about_a_message_that_is_there() -> None:
    assert sorted(set(EXPECTED) - set(FILES)) == []
