"""The published SharePoint filter: one port (``library``), and an adapter for each API behind it."""
