"""The parts of the collector of a tenant's business metrics."""
