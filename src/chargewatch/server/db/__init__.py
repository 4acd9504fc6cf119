"""The database: where it runs, who may log in, what it holds, and the one door to a tenant's rows."""
