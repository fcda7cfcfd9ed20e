"""Tables in databases: rows move as Arrow batches, SQLite, DuckDB and PostgreSQL alike."""
