"""The service: HTTP, database, background work."""
