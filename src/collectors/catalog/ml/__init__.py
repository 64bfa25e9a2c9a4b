"""Collectors about models and experiments."""
