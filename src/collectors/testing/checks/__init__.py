"""The checks, by what they look at; each function's docstring is what it demands."""
