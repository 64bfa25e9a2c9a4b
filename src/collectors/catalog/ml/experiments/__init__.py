"""How experiments are declared, read from the lake and judged; ``experiment_tracking`` puts it together."""
