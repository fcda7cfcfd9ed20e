"""The record of finished steps, where there is no store yet."""

from pipeline.caching import record


def test_who_only_looks_leaves_no_record_where_no_store_is(tmp_path):
    folder = tmp_path / "tracking_store"
    record.add_imports(folder, {"content": ["os"]})
    assert record.find(folder, "a") is None and record.last(folder, "mine", "clean") is None
    assert record.imports(folder) == {} and record.refusal(folder, "mine", "s", "p", "a") is None
    assert not folder.exists()
    record.add(folder, "mine", "clean", record.Result("a", {}, [], {}, 1.0))
    assert record.find(folder, "a") == record.Result("a", {}, [], {}, 1.0)
