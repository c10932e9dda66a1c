"""Fuzzing of everything that reads what strangers send: ``python -m fuzz`` (``make fuzz``).

``fuzz.targets`` holds one small module a reader; ``fuzz.target`` says what must hold for each input;
``fuzz.mutation`` makes odd messages of good ones. The tests in tests/fuzz use the same, within bounds.
"""
