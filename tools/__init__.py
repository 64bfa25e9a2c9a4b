"""Development tools: generated pages and scaffolds."""
