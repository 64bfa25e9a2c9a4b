"""The active part: who runs collectors, when, and what happens to their samples."""
