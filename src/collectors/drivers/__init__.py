"""The only importers of vendor SDKs and readers of the outside; each maps foreign errors to ours."""
