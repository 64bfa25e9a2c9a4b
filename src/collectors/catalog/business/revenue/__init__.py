"""Parts of the collector of revenue metrics."""
