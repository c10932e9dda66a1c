"""Benchmarks: how fast the scan server is beside others that keep the same promise; see README.md here."""
