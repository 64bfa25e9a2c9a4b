"""What a PostgreSQL server tells of itself, area by area."""
