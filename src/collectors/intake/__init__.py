"""The event path of the gateway: decode, validate, deduplicate, protect, append to the log, acknowledge."""
