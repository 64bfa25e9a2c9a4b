"""A sink that keeps the contract, and for each check one that breaks it there and nowhere else."""
