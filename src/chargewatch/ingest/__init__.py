"""The border: foreign payloads become columns of readings; order, duplicates, defaults and repairs."""
