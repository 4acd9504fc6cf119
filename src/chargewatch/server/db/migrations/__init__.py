"""The schema as a sequence of Alembic revisions, and the runner that applies them."""
