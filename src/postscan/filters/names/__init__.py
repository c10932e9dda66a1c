"""The names filter: what documents are called, by a template of the scan process."""
