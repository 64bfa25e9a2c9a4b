"""What a collector *is*, and how one is found by name."""
