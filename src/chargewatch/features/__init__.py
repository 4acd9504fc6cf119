"""Readings become one record per session: channels in SI units, repaired, with what is known about them."""
