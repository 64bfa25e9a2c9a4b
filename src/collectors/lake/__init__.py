"""The event store: Delta tables loaded from the log exactly once, and the engines that query them."""
