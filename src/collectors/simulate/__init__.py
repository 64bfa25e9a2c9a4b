"""A music-streaming platform with known truth: its world, its events, their faults, and how they are written."""
