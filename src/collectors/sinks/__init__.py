"""Where samples and spans are handed on to, one file each; siblings that never import one another."""
