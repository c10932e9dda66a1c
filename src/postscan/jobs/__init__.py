"""The PostScan job: its states, its store, its spool, and the runner that takes it through its filters."""
