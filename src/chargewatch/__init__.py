"""chargewatch: anomaly detection for electric-vehicle charging sessions and stations."""

__version__ = "0.1.0"
