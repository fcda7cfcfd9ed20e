"""The body of a request as rows: counted while it is read, large ones in a process of their own."""
