"""Evidence rules: each category of ``docs/categories.md`` decided on the readings of one session."""
