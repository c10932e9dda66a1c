"""Real servers for tests, demonstrations and measurements, each with all it has in one folder."""
