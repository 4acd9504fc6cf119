"""What Alembic runs to plan a migration: the revisions as SQL text, each a transaction of its own.

Alembic only plans (its offline mode); ``runner`` sends the statements through asyncpg, so that no second
database driver is needed.
"""

from alembic import context

context.configure(
    dialect_name="postgresql",
    dialect_opts={"paramstyle": "named"},
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
