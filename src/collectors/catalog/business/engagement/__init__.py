"""The parts of the collector of user engagement."""
