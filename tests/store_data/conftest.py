from sql_support import database, postgres
from step_support import steps

__all__ = ["database", "postgres", "steps"]
