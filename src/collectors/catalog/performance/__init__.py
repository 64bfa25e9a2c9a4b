"""Collectors that sample live systems: hosts, databases, caches, services, networks."""
