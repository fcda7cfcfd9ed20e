"""The declaration of a table: conf/dataset/<name>.yaml, checked."""
