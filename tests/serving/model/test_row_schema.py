"""The quick yes to a request never says yes to what the declaration refuses."""

import itertools
import json

import pytest
from service_support import ROW
from step_support import make_songs, with_text

from serving.model import served_model as models
from serving.model.row_schema import RowSchema
from util_lib.dataset.columns import Column

VALUES = [
    *(None, True, False, 0, 1, -1, 3, 11, 12, 0.5, 3.0, 50, 250, 250.0001, 2**53 + 1, 10**400),
    *(1e308, -1e308, float("inf"), "", "a", "b", "3", "0.5", [], {}, "2019-05-26"),
    *("2018-01-01", "2019-05-26T12:00:00+02:00", "2019-13-01", "20190526", "2019-W21-7", "now"),
]
COLUMNS = {
    "float": Column(dtype="float", role="numerical", min=0, max=250),
    "open float": Column(dtype="float", role="numerical"),
    "int": Column(dtype="int", role="categorical", min=0, max=11),
    "open int": Column(dtype="int", role="numerical", nullable=True),
    "listed int": Column(dtype="int", role="categorical", allowed=[1, 3]),
    "listed float": Column(dtype="float", role="numerical", allowed=[0.5, 3.0]),
    "text": Column(dtype="string", role="text", nullable=True),
    "listed": Column(dtype="string", role="categorical", allowed=["a", "b", ""]),
    "bool": Column(dtype="bool", role="categorical"),
    "date": Column(dtype="datetime", role="date", min="2019-01-01", max="2020-01-01"),
    "open date": Column(dtype="datetime", role="date", nullable=True),
}


class Declared(models.ServedModel):
    """A model of which only the declaration counts."""

    def __init__(self, columns):
        declaration = models.Declaration()
        for name, value in {"columns": columns, "sources": {}, "declaration": declaration}.items():
            object.__setattr__(self, name, value)


@pytest.mark.parametrize("name", COLUMNS)
def test_what_the_typed_row_takes_the_declaration_takes_too(name):
    declared = Declared({name: COLUMNS[name]})
    taken = []
    for value in VALUES:
        rows, problems = RowSchema(declared).check([{name: value}])
        _, found = declared.examine(declared.read({name: [value]}))
        assert bool(problems) == bool(found), (value, problems, found)
        assert bool(rows) != bool(problems)
        taken += rows
    assert 0 < len(taken) < len(VALUES)


def test_every_declared_row_is_taken_as_it_is(service):
    schema = service.slots[0].loaded.schema
    frame = with_text(make_songs(50, seed=2))[list(ROW)]
    rows = json.loads(frame.to_json(orient="records"))
    taken, problems = schema.check(rows)
    assert not problems
    assert [[row.get(name) for name in ROW] for row in taken] == [
        [row[name] for name in ROW] for row in rows
    ]


def test_a_text_that_is_made_of_others_is_made_whatever_else_the_request_has(service):
    base = {name: value for name, value in ROW.items() if name != "text_feature"}
    texts = {"title": "warehouse", "song_name": None}
    joined = {**base, "text_feature": "warehouse "}
    expected = service.predict(joined).json()
    for extra in ({}, {"text_feature": None}):
        assert service.predict({**base, **texts, **extra}).json() == expected
    assert service.predict({**base, "title": "warehouse"}).json() == expected
    assert service.predict({**base, "energy": 0.4}).status_code == 200  # no text at all
    assert service.predict({**base, "title": 5}).json()["problems"][0]["column"] == "title"
    given = service.predict({**base, **texts, "text_feature": "warehouse beats"}).json()
    assert given == service.predict(ROW).json()
    mixed = [joined, {**base, **texts}, ROW]
    alone = [service.predict(row).json()["predictions"][0] for row in mixed]
    for order in itertools.permutations(range(3)):
        answer = service.predict(*[mixed[i] for i in order]).json()["predictions"]
        assert answer == [alone[i] for i in order]
