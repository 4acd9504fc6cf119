"""CSAR-2, the session detector: ``detect`` is the only path from readings to verdicts."""
