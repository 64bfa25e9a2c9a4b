"""Collectors of security events, threats, compliance and audit."""
