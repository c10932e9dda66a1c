"""A throw-away Active Directory: Samba as domain controller in a network namespace of its own.

What is in it says :mod:`testdomain.facts`. For people: ``python -m testdomain up DIR`` (see ``--help``);
tests use the fixture ``domain`` of tests/support/domain.py. It needs root and the Debian packages that
``tools/debian-packages tests`` installs.
"""
