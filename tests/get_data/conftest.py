from bucket_support import _s3, bucket
from sql_support import database, postgres
from step_support import steps

__all__ = ["_s3", "bucket", "database", "postgres", "steps"]
