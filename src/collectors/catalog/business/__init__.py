"""Collectors that tell how the business of a tenant goes."""
