"""--explain and --plan say whether a step takes its table whole or in batches."""

import pytest

from pipeline.caching import decision, versions
from pipeline.planning.plan import plan
from pipeline.running import preview
from pipeline.settings import overrides, resolvers, schema
from util_lib import tracking

WAYS = {
    7: "; 8 rows, above large_rows (7): in batches",
    8: "; 8 rows, large_rows is 8: whole, in memory",
}


@pytest.mark.parametrize("large_rows", WAYS)
def test_what_is_known_of_a_table_says_how_a_step_will_take_it(tmp_path, monkeypatch, large_rows):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRACKING_PUBLISH", "parent")
    resolvers.register_resolvers()
    settings = schema.check(
        overrides.base_config([f"data.large_rows={large_rows}", "main.project_name=other"])
    )
    steps = plan(settings)
    with tracking.init(project="other", job_type="preprocess", config={}) as run:
        read = {reference.partition(":")[0] for step in steps for reference in step.inputs}
        for name in read - {*steps[0].outputs}:  # of a raw table nobody knows the rows
            file = tmp_path / name
            file.write_bytes(b"a table")
            tracking.log_file(run, file, file.name, "data", "made", {"rows": 8})
    with versions.opened("local") as known:
        ways = {step.name: decision.way(step, settings, known, {}) for step in steps}
        made = {settings.data.preprocessed_artifact: f"{settings.data.preprocessed_artifact}:v7"}
        gone = {step.name: decision.way(step, settings, known, made) for step in steps}
        shown = preview.table(settings, [s for s in steps if s.name == "segregate"], known)
    assert {name for name, way in ways.items() if way} == {"check_data", "segregate"}
    assert not any(gone.values())  # what this run has made is another version
    assert {ways["check_data"], ways["segregate"]} == {WAYS[large_rows]}
    assert str([*shown.columns[1].cells][0]).endswith(WAYS[large_rows])
