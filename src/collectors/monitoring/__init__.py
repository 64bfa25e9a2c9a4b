"""Our own metrics, logs and health."""
