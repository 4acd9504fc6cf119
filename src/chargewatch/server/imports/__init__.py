"""Bringing history into a tenant."""
