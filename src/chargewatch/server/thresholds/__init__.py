"""The limits of a tenant: what they are, changing them, and knowing them while judging."""
