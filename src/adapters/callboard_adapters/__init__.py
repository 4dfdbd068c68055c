"""Everything outside the core: SQL, memory, HTTP, jobs, providers and their twin. Nothing is imported from here."""
