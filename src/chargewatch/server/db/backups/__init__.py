"""Backups: what a file holds (`archive`), taking one (`take`), bringing one back (`restore`)."""
