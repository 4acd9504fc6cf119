"""Hostile input and foreign tenants against a served process; `python -m tests.hostile`."""
