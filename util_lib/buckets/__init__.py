"""Files of buckets and servers, by addresses such as `s3://bucket/name`."""
