"""What lies in a bucket, the raw data and the contents of the store, is reused as on a disk."""

import shutil

from bucket_support import _s3, bucket

from tests.pipeline.caching.test_reuse import ROOT, make_place

__all__ = ["_s3", "bucket"]


def test_a_table_in_a_bucket_is_taken_again_when_its_etag_is_another(bucket, tmp_path):
    place = make_place(tmp_path)
    shutil.copytree(ROOT / "get_data", place.project / "get_data", dirs_exist_ok=True)
    options = [f"data.file_url={bucket.address}/table.csv", "main.execute_steps=get_data"]
    for content, says in ((b"a,b", "made"), (b"a,b", "cached, has"), (b"a,b,c", "made")):
        bucket.put("table.csv", content)
        said = place.run(*options, TRACKING_STORE_FILES=f"{bucket.address}/team")
        assert f"{says} raw_data.parquet" in said.stdout, said.stdout + said.stderr
        for folder in (place.store / "files").glob("??"):
            shutil.rmtree(folder)  # a copy of what the bucket has
