"""The concrete collectors, one file each; siblings never import one another."""
