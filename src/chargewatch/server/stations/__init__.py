"""Stations and their counts: what the calls on stations and statistics answer."""
