"""Real servers for tests: each is started on a free port and ended with its fixture."""
