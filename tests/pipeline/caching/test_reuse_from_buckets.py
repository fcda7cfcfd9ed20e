"""What lies in a bucket, the raw data or the contents of the store, is reused as on a disk."""

import shutil

from bucket_support import _s3, bucket

from tests.pipeline.caching.test_reuse import ROOT, place, template

__all__ = ["_s3", "bucket", "place", "template"]


def test_a_table_in_a_bucket_is_taken_again_when_its_etag_is_another(bucket, place):
    shutil.copytree(ROOT / "get_data", place.project / "get_data", dirs_exist_ok=True)
    address = bucket.put("table.csv", b"a,b")
    options = [f"data.file_url={address}", "main.execute_steps=get_data"]
    said = []
    for content in (b"a,b", b"a,b", b"a,b,c"):
        bucket.put("table.csv", content)
        done = place.run(*options)
        assert done.returncode == 0, done.stdout + done.stderr
        said.append(done.stdout)
    print(said)
    assert 0


def test_results_that_lie_in_a_bucket_alone_are_reused(bucket, place):
    where = {"TRACKING_STORE_FILES": f"{bucket.address}/team"}
    assert place.ran(**where) == []  # and what was only here is there from now on
    for folder in (place.store / "files").glob("??"):
        shutil.rmtree(folder)
    assert place.ran(**where) == []
