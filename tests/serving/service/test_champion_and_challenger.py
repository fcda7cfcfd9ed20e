"""Two models behind one address, and a newer version that takes over while requests come."""

import re
import shutil
import threading
import time

import pytest
from service_support import ROW, running, until
from serving_support import export_model
from step_support import MODEL

from serving import promote
from serving.model import prediction
from serving.service import batching, slots
from serving.service.champion_challenger import Routing
from util_lib.errors import UserError


def move(steps, alias: str, version: str) -> None:
    artifact = steps.artifact(f"model_export:{version}")
    artifact.aliases.append(alias)
    artifact.save()


@pytest.fixture
def two(steps):
    """A store with two models that differ: v0 is prod, v1 is candidate."""
    export_model(steps)
    export_model(steps, random_forest={**MODEL["random_forest"], "max_depth": 1, "random_state": 9})
    move(steps, "prod", "v0")
    move(steps, "candidate", "v1")
    return steps


def version_of(answer) -> str:
    assert answer.status_code == 200, answer.text
    return answer.headers["x-model-version"]


def test_a_newer_version_takes_over_and_every_answer_is_of_one_whole_model(two):
    with running("model_export:prod") as service:
        old = service.post("/predict", {"dataframe_records": [ROW]}).json()
        seen, failed, stop = [], [], threading.Event()

        def ask():
            while not stop.is_set():
                answer = service.post("/predict", {"dataframe_records": [ROW] * 3})
                if answer.status_code != 200:
                    failed.append(answer.text)
                seen.append((answer.headers["x-model-version"], answer.json()["predictions"][2]))

        asking = threading.Thread(target=ask)
        asking.start()
        for version in ("v1", "v0", "v1"):
            move(two, "prod", version)
            until(lambda v=version: service.slots[0].loaded.version == f"tests/model_export:{v}")
        stop.set()
        asking.join()
        new = service.post("/predict", {"dataframe_records": [ROW]}).json()
    assert not failed
    assert (old["model"], new["model"]) == ("tests/model_export:v0", "tests/model_export:v1")
    right = {"tests/model_export:v0": old, "tests/model_export:v1": new}
    assert old["predictions"] != new["predictions"]
    assert all(row == right[version]["predictions"][0] for version, row in seen)
    assert {version for version, _ in seen} == set(right)


def test_a_newer_version_that_cannot_be_loaded_leaves_the_old_one_answering(two, caplog):
    with running("model_export:prod") as service:
        two.put(b"no model", "model_export", type="model_export")
        move(two, "prod", "latest")
        slot = service.slots[0]
        until(lambda: slot.refused)
        assert version_of(service.predict(ROW)) == "tests/model_export:v0"
        assert list(service.get("/model").json()["refused"]) == ["tests/model_export:v2"]
        assert "v2 cannot be loaded" in caplog.text
        move(two, "prod", "v1")
        until(lambda: version_of(service.predict(ROW)) == "tests/model_export:v1")


def test_a_version_that_could_not_be_loaded_is_tried_again_later(two, monkeypatch):
    monkeypatch.setattr(slots, "RETRY_SECONDS", 0.3)
    with running("model_export:prod") as service:
        load, tries = slots.load, []

        def fail_twice(reference, *trust):
            tries.append(reference)
            if len(tries) < 3:
                raise OSError("the connection was lost")
            return load(reference, *trust)

        monkeypatch.setattr(slots, "load", fail_twice)
        move(two, "prod", "v1")
        until(lambda: version_of(service.predict(ROW)) == "tests/model_export:v1")
        assert len(tries) == 3 and service.get("/model").json()["refused"] == {}


def brought_back(folder) -> bool:
    """Put the store back, unless a look has just made an empty one in its place."""
    shutil.rmtree(folder / "store", ignore_errors=True)
    try:
        (folder / "elsewhere").rename(folder / "store")
    except OSError:
        return False
    return True


def test_a_store_that_is_away_leaves_the_model_answering_and_is_told_once(two, caplog):
    with running("model_export:prod") as service:
        store = two.folder / "store"
        store.rename(two.folder / "elsewhere")
        until(lambda: "cannot be looked up" in caplog.text)
        time.sleep(0.4)  # several more looks
        assert version_of(service.predict(ROW)) == "tests/model_export:v0"
        assert caplog.text.count("cannot be looked up") == 1
        until(lambda: brought_back(two.folder))
        move(two, "prod", "v1")
        until(lambda: version_of(service.predict(ROW)) == "tests/model_export:v1")


def test_a_damaged_prod_is_stood_in_for_by_the_last_good_one_which_says_so(two, caplog):
    export_model(two, random_forest={**MODEL["random_forest"], "max_depth": 2})
    for version in ("v0", "v1", "v2"):
        promote.main(
            ["--model", f"model_export:{version}", "--force", "true", "--reason", "a way"]
            + ["--test_data", "data_train.parquet:latest"]
        )
    whole = {version: damage(two, version) for version in ("v1", "v2")}
    with running("model_export:prod") as service:
        assert version_of(service.predict(ROW)) == "tests/model_export:v0"
        card = service.get("/model").json()
        assert card["version"] == "tests/model_export:v0"
        assert card["instead_of"] == "tests/model_export:v2"
        assert "is damaged" in card["refused"]["tests/model_export:v2"]
        assert 'serving_model_stands_in{role="champion"} 1.0' in service.get("/metrics").text
        assert "v2 cannot be loaded, tests/model_export:v0 answers instead" in caplog.text
        service.slots[0]._retry_at = 0.0
        for path, content in whole.values():
            path.write_bytes(content)
        until(lambda: version_of(service.predict(ROW)) == "tests/model_export:v2")
        assert service.get("/model").json()["instead_of"] is None
        assert 'serving_model_stands_in{role="champion"} 0.0' in service.get("/metrics").text


def damage(steps, version):
    """Change a model where the store keeps it; return the file and what it held."""
    artifact = steps.artifact(f"model_export:{version}")
    path = artifact._store.files.path(artifact.manifest.entries["model.skops"].sha256)
    whole = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(whole[:-1])
    return path, whole


def test_an_unknown_model_and_one_without_prod_are_refused_at_the_start(two):
    for reference in ("no_such_model:prod", "model_export:none", "model_export"):
        with pytest.raises(UserError), running(reference):
            pass


def arms(service, keys, **options) -> dict[str, str]:
    return {
        key: service.predict(ROW, headers={"X-Routing-Key": key}, **options).headers["x-model-role"]
        for key in keys
    }


def test_a_key_always_gets_the_same_model_and_a_larger_share_only_adds_keys(two):
    keys = [f"caller {number}" for number in range(300)]
    with running("model_export:prod", "model_export:candidate", share=0.3) as service:
        told = arms(service, keys[:30])
        assert arms(service, keys[:30]) == told
        row = service.predict(ROW, headers={"X-Routing-Key": keys[0]})
        assert version_of(row)[-2:] == {"champion": "v0", "challenger": "v1"}[told[keys[0]]]
        got = {}
        for share in (0.0, 0.1, 0.3, 1.0):
            routing = Routing(service.slots, share)
            roles = [(key, routing.slot({"X-Routing-Key": key}, [], b"").role) for key in keys]
            got[share] = {key for key, role in roles if role == "challenger"}
    assert {key for key, role in told.items() if role == "challenger"} == got[0.3] & set(keys[:30])
    assert got[0.0] == set() and got[1.0] == set(keys)
    assert got[0.1] < got[0.3] and 15 <= len(got[0.1]) <= 45 and 65 <= len(got[0.3]) <= 115


def test_the_key_may_be_a_column_and_a_request_without_a_key_is_its_own_key(two):
    with running(
        "model_export:prod", "model_export:candidate", share=0.5, key="column:user"
    ) as service:
        roles = {
            user: {
                service.predict({**ROW, "user": user, "tempo": tempo}).headers["x-model-role"]
                for tempo in (100, 110, 120)
            }
            for user in range(8)
        }
        assert all(len(found) == 1 for found in roles.values())
        assert {role for found in roles.values() for role in found} == {"champion", "challenger"}
        mixed = service.predict({**ROW, "user": 1}, {**ROW, "user": 2})
        assert mixed.status_code == 422 and "'user'" in mixed.json()["message"]
        without = {
            tempo: {service.predict({**ROW, "tempo": tempo}).headers["x-model-role"] for _ in "123"}
            for tempo in range(60, 70)
        }
        assert all(len(found) == 1 for found in without.values())
        assert {role for found in without.values() for role in found} == {"champion", "challenger"}


def test_the_table_and_the_counters_compare_both_models(two):
    with running("model_export:prod", "model_export:candidate", share=0.5) as service:
        roles = arms(service, [f"caller {number}" for number in range(40)])
        shown = service.get("/ab").json()
        table = service.get("/ab", headers={"Accept": "text/html"})
        counters = service.get("/metrics").text
    for model in shown["models"]:
        n = list(roles.values()).count(model["role"])
        assert (model["requests"], model["rows"]) == (n, n)
        assert model["p50_ms"] > 0 and sum(model["shares"].values()) == pytest.approx(1)
        rows = f'serving_rows_total{{role="{model["role"]}",version="{model["version"]}"}} {n}.0'
        assert rows in counters
    assert shown["mode"] == "share"
    assert table.headers["content-type"].startswith("text/html") and "challenger" in table.text


def test_in_shadow_the_champion_answers_all_and_both_are_compared_row_by_row(two):
    with running("model_export:prod", "model_export:candidate") as service:
        for tempo in range(60, 90):
            answer = service.predict({**ROW, "tempo": tempo})
            assert version_of(answer) == "tests/model_export:v0"
        until(lambda: service.get("/ab").json()["pairs"]["rows"] == 30)
        shown = service.get("/ab").json()
        counters = service.get("/metrics").text
    same = re.findall(r'^serving_shadow_rows_total{agreement="same",.*} (.*)$', counters, re.M)
    assert sum(map(float, same)) == shown["pairs"]["agreement"] * 30
    assert shown["mode"] == "shadow"
    assert [model["rows"] for model in shown["models"]] == [30, 30]
    assert 0 <= shown["pairs"]["agreement"] <= 1
    assert shown["pairs"]["mean_absolute_difference"] > 0


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_rows_that_are_wrong_are_the_error_of_neither_model(two, share):
    with running("model_export:prod", "model_export:candidate", share=share) as service:
        assert service.predict({**ROW, "energy": 7}).status_code == 422
        assert [model["errors"] for model in service.get("/ab").json()["models"]] == [0, 0]


def test_a_challenger_that_fails_costs_no_caller_an_answer(two, monkeypatch, caplog):
    with running("model_export:prod", "model_export:candidate", share=1.0) as service:
        quick = prediction.predict

        def fail(loaded, rows):
            if loaded is service.slots[1].loaded:
                raise RuntimeError("broken")
            return quick(loaded, rows)

        monkeypatch.setattr(batching, "predict", fail)
        answer = service.predict(ROW)
        assert (answer.status_code, answer.headers["x-model-role"]) == (200, "champion")
        assert service.get("/ab").json()["models"][1]["errors"] == 1
    assert "the challenger failed: RuntimeError" in caplog.text


def test_requests_that_wait_together_are_predicted_together_and_each_gets_its_own_rows(two):
    with running("model_export:prod") as service:
        sizes, answers = [1, 2, 3, 5, 8], {}

        def ask(number, n_rows):
            rows = [{**ROW, "energy": (number + i) % 10 / 10} for i in range(n_rows)]
            body = {"dataframe_records": rows}
            for _ in range(10):
                answers[number] = (rows, service.post("/predict", body).json()["predictions"])

        asking = [threading.Thread(target=ask, args=(n, sizes[n % len(sizes)])) for n in range(16)]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
        for rows, found in answers.values():
            alone = [service.post("/predict", {"dataframe_records": [row]}).json() for row in rows]
            assert found == [answer["predictions"][0] for answer in alone]
        text = service.get("/metrics").text
    value = {line.split(" ")[0]: line.split(" ")[1] for line in text.splitlines() if line[0] != "#"}
    batches = float(value['serving_batch_rows_count{role="champion"}'])
    asked = 160 + sum(len(rows) for rows, _ in answers.values())
    assert batches < asked  # some were predicted with others
