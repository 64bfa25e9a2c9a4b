"""Collectors that keep the contract, and for each check one that breaks it there and nowhere else."""
