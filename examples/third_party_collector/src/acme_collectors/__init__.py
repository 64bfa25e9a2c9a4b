"""Acme's own collectors."""
