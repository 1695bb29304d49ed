"""Real mail servers for tests, and a few that lie."""
