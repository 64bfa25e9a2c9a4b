"""Keys, pseudonyms, authenticated encryption and field policies: transforms of whole Arrow columns."""
