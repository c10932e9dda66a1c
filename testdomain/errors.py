"""What goes wrong in making and running a test domain."""

from __future__ import annotations


class TestDomainError(Exception):
    """The test domain could not be made or started; the message says why, for whoever runs it."""

    # Its name looks like a test to pytest.
    __test__ = False


class NamespaceRefused(TestDomainError):
    """This machine (a container, for one) lets nobody make network namespaces, or not all that they need."""
