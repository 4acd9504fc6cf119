"""Batches: many sessions in one call, stored at once and processed by workers (contract, section 5)."""
