"""From files to tables: read, and cleaned as declared."""
