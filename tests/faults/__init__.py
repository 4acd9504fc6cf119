"""Fault runs on a real service, and the history checker that judges them (``python -m tests.faults``)."""
