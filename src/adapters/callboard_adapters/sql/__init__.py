"""PostgreSQL and SQLite behind the core's ports: Core tables, explicit queries, one tenant per unit of work."""
