"""Areas of a Redis or Valkey server, each with what it asks and what it makes of the answers."""
