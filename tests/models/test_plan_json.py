"""Plans survive JSON unchanged; files that are no plans are refused in one line."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ooc_solve.models.plan_json import (
    SCHEMA,
    dump_plan,
    parse_plan,
    plan_from_json,
    plan_hash,
    plan_to_json,
)
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.vocabulary import InputError, Objective, Plan, Selection


@pytest.fixture(scope="module")
def plan(
    tiny_problem: Problem, tiny_selection: Selection, planned: Callable[[Problem, Selection, bool], Plan]
) -> Plan:
    """A right plan for the small problem."""
    return planned(tiny_problem, tiny_selection, True)


@pytest.fixture
def document(plan: Plan) -> dict[str, Any]:
    """The plan as a JSON object of its own, to be spoilt."""
    return plan_to_json(plan)


# ------------------------------------------------------------------------ round trip


def test_round_trip(plan: Plan) -> None:
    """A plan comes back equal from its JSON text, the floating-point lifetime included."""
    text = json.dumps(plan_to_json(plan))
    assert plan_from_json(json.loads(text)) == plan
    assert plan.figures.lifetime_years is not None


def test_round_trip_without_a_lifetime(plan: Plan) -> None:
    """A plan that wears nothing out has null for its lifetime, and comes back so."""
    lasting = replace(plan, figures=replace(plan.figures, lifetime_years=None))
    document = json.loads(json.dumps(plan_to_json(lasting)))
    assert document["figures"]["lifetime_years"] is None
    assert plan_from_json(document) == lasting


def test_document_names_its_schema_and_speaks_plainly(document: dict[str, Any]) -> None:
    """The document says what it is; enums are their values and sets are sorted lists."""
    assert document["schema"] == SCHEMA == "ooc-plan/1"
    assert document["graph"]["tasks"][0]["kind"] == "load"
    assert document["selection"]["kept"] == ["dense", "point"]


def test_file_round_trip(tiny_problem: Problem, plan: Plan) -> None:
    """A plan file written for a problem is read back for it, and is the same text each time."""
    text = dump_plan(tiny_problem, plan)
    assert parse_plan(tiny_problem, text, "plan.json") == plan
    assert dump_plan(tiny_problem, parse_plan(tiny_problem, text, "plan.json")) == text


# ------------------------------------------------------------------------------ hash


def test_hash_depends_on_the_plan(tiny_problem: Problem, plan: Plan) -> None:
    """One nanosecond makes another plan; the same plan has the same hash."""
    start = plan.schedule.start_ns
    later = replace(plan, schedule=replace(plan.schedule, start_ns=(*start[:-1], start[-1] + 1)))
    again = plan_from_json(plan_to_json(plan))
    assert plan_hash(tiny_problem, later) != plan_hash(tiny_problem, plan)
    assert plan_hash(tiny_problem, again) == plan_hash(tiny_problem, plan)
    assert len(plan_hash(tiny_problem, plan)) == 64


def _other_problems(problem: Problem) -> list[Problem]:
    board = replace(problem.target.board, clock_hz=problem.target.board.clock_hz + 1)
    return [
        replace(problem, sram_bytes=problem.sram_bytes - 1),
        replace(problem, io=IoPlace.SRAM),
        replace(problem, objective=Objective.WEAR),
        replace(problem, write_budget_bytes=10_000),
        replace(problem, target=replace(problem.target, name="other")),
        replace(problem, target=replace(problem.target, board=board)),
        replace(problem, network=replace(problem.network, digest="other")),
    ]


def test_hash_depends_on_model_target_and_options(tiny_problem: Problem, plan: Plan) -> None:
    """A plan for another network, target value or option has another hash."""
    hashes = {plan_hash(problem, plan) for problem in [tiny_problem, *_other_problems(tiny_problem)]}
    assert len(hashes) == 8


def test_hash_does_not_depend_on_provenance(tiny_problem: Problem, plan: Plan) -> None:
    """Saying better where a number comes from does not make another plan."""
    target = replace(tiny_problem.target, provenance={"board.cpu.clock_hz": "S: a better source"})
    assert plan_hash(replace(tiny_problem, target=target), plan) == plan_hash(tiny_problem, plan)


def test_file_of_another_problem_is_refused(tiny_problem: Problem, plan: Plan) -> None:
    """A plan file is read only for the problem that it was made for."""
    text = dump_plan(tiny_problem, plan)
    for problem in _other_problems(tiny_problem):
        with pytest.raises(InputError, match=r"^p\.json: the plan must have been made for this model"):
            parse_plan(problem, text, "p.json")


def test_changed_file_is_refused(tiny_problem: Problem, plan: Plan) -> None:
    """A plan file in which a number was changed no longer has its hash."""
    latency = plan.figures.latency_ns
    text = dump_plan(tiny_problem, plan).replace(f'"latency_ns":{latency}', f'"latency_ns":{latency - 1}')
    with pytest.raises(InputError, match=r"^p\.json: plan_hash must be that of the plan"):
        parse_plan(tiny_problem, text, "p.json")


# ------------------------------------------------------------------- malformed input


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "7", '{"schema": "ooc-plan/1"}', "[" * 100_000, "9" * 5_000, '{"schema": NaN}'],
)
def test_text_that_is_no_plan(tiny_problem: Problem, text: str) -> None:
    """Whatever the file holds, the answer is one line that names the file."""
    with pytest.raises(InputError) as caught:
        parse_plan(tiny_problem, text, "p.json")
    assert str(caught.value).startswith("p.json: ")
    assert "\n" not in str(caught.value)


def _set(*path: str | int, to: object) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        place: Any = document
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = to

    return change


def _drop(*path: str | int) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        place: Any = document
        for step in path[:-1]:
            place = place[step]
        del place[path[-1]]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("schema", to="ooc-plan/2"), "schema must be 'ooc-plan/1' (got 'ooc-plan/2')"),
        (_drop("figures"), "figures is missing; add it"),
        (_drop("graph", "tasks", 3, "kind"), "graph.tasks[3].kind is missing; add it"),
        (_set("graph", "extra", to=1), "graph.extra is not part of the format; remove it"),
        (_set("graph", "tasks", to={}), "graph.tasks must be a list (got {})"),
        (_set("graph", "tasks", 0, to=[]), "graph.tasks[0] must be an object (got [])"),
        (_set("graph", "tasks", 0, "index", to=True), "graph.tasks[0].index must be an integer"),
        (_set("graph", "tasks", 0, "index", to=0.0), "graph.tasks[0].index must be an integer"),
        (_set("graph", "tasks", 0, "index", to=1 << 63), "graph.tasks[0].index must be an integer below"),
        (
            _set("graph", "tasks", 0, "operands", to=[1, 2]),
            "graph.tasks[0].operands must have 5 items (got 2)",
        ),
        (_set("graph", "tasks", 0, "kind", to="fly"), "graph.tasks[0].kind must be one of load, store"),
        (_set("graph", "tasks", 0, "resource", to=None), "graph.tasks[0].resource must be a text"),
        (
            _set("graph", "buffers", 1, "pinned", to=0),
            "graph.buffers[1].pinned must be true or false (got 0)",
        ),
        (_set("graph", "resident", 0, to=["a"]), "graph.resident[0] must have 2 items"),
        (
            _set("selection", "tilings", 2, "rows", to=0),
            "selection.tilings[2]: tile sizes must be at least 1",
        ),
        (_set("figures", "lifetime_years", to=float("inf")), "figures.lifetime_years must be a number"),
        (_set("scheduler", to=["x" * 99]), "scheduler must be a text (got ['xxxx"),
    ],
)
def test_malformed_plan(
    document: dict[str, Any], change: Callable[[dict[str, Any]], None], message: str
) -> None:
    """A document of another form is refused with the place and what must stand there."""
    change(document)
    with pytest.raises(InputError) as caught:
        plan_from_json(document, "p.json")
    assert str(caught.value).startswith(f"p.json: {message}")
    assert str(caught.value).endswith(".")
    assert len(str(caught.value).splitlines()) == 1


_ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=3),
    st.lists(st.integers(), max_size=2),
)


@settings(max_examples=300)
@given(data=st.data())
def test_any_value_anywhere(plan: Plan, data: st.DataObject) -> None:
    """Another value at any place gives a plan or an input error, never anything else."""
    document: Any = copy.deepcopy(plan_to_json(plan))
    place, key = document, data.draw(st.sampled_from(sorted(document)))
    while isinstance(place[key], (dict, list)) and place[key] and data.draw(st.integers(0, 9)):
        place = place[key]
        keys = sorted(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
    place[key] = data.draw(_ODD)
    outcome: Plan | str
    try:
        outcome = plan_from_json(document, "p.json")
    except InputError as error:
        outcome = str(error)
    assert isinstance(outcome, Plan) or outcome.startswith("p.json: ")
