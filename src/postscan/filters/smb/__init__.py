"""Delivering to file servers over SMB 2 and 3: which ones, how to log on, and how a file gets there whole."""
