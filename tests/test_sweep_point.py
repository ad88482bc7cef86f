"""One point of a sweep: its row, what it takes over from less SRAM, and the file that keeps it."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from ooc_solve.api import load, target
from ooc_solve.models.plan_json import parse_plan
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.vocabulary import Budget, InputError, Objective, Result, Status
from ooc_solve.solver import least as least_module
from ooc_solve.solver.shortfall import NOTHING_FOUND
from ooc_solve.solver.validate import validate
from ooc_solve.sweep_grid import Point
from ooc_solve.sweep_point import Known, _reason, columns, solve_point

SERIAL = Point(
    "zoo:autoencoder", load("zoo:autoencoder"), target("f746-sd"), 12 * 1024, "latency", "serial", None, None,
    Budget(0.2, 1, 1),
)  # fmt: skip


@pytest.fixture(scope="module")
def less() -> Known:
    """What the search finds with 12 KiB, better than what a simple rule does with more."""
    return solve_point(replace(SERIAL, scheduler="demand-layering"))


def test_row_says_what_was_asked_and_found(less: Known) -> None:
    """A row carries version, seed, time limit, plan hash, status, value, bound and gap."""
    row = less.row
    assert (row.model, row.target, row.sram_bytes, row.io) == ("zoo:autoencoder", "f746-sd", 12288, "storage")
    assert (row.version, row.seed, row.time_limit_s, row.workers) == ("0.1.0", 1, 0.2, 1)
    assert row.value == row.latency_ns
    assert row.value is not None
    assert row.bound is not None
    assert row.gap == (row.value - row.bound) / row.value
    assert row.status in ("feasible", "optimal")
    assert row.plan_hash is not None
    assert (row.plan_sram_bytes, row.min_sram_bytes, row.reason) == (12288, None, None)


def test_a_better_plan_for_less_sram_is_taken_over(less: Known) -> None:
    """Where a scheduler finds nothing better with more SRAM, the row has the plan for less, which is right."""
    more = replace(SERIAL, sram_bytes=12 * 1024 + 512)
    alone, found = solve_point(more), solve_point(more, less)
    assert alone.row.value is not None
    assert less.row.value is not None
    assert alone.row.value > less.row.value == found.row.value
    assert (found.row.plan_sram_bytes, found.row.sram_bytes) == (12 * 1024, 12 * 1024 + 512)
    problem = Problem(SERIAL.network, SERIAL.target, more.sram_bytes, IoPlace.STORAGE, Objective.LATENCY)
    assert found.plan is not None
    assert not validate(problem, parse_plan(problem, found.plan, "the row's plan"))


def test_a_worse_plan_for_less_sram_is_not(less: Known) -> None:
    """A known plan does not stand in the way of a better one."""
    found = solve_point(replace(SERIAL, scheduler="demand-layering", sram_bytes=24 * 1024), less)
    assert found.row.value is not None
    assert less.row.value is not None
    assert found.row.value < less.row.value
    assert found.row.plan_sram_bytes == 24 * 1024


def test_too_little_sram_is_a_row_with_the_least() -> None:
    """A point that nothing fits says why, and names the least SRAM, which then works."""
    found = solve_point(replace(SERIAL, sram_bytes=2000, budget=Budget(20.0, 1, 1))).row
    assert (found.status, found.value, found.plan_hash) == ("infeasible", None, None)
    assert found.min_sram_bytes is not None
    assert str(found.min_sram_bytes) in (found.reason or "")
    assert solve_point(replace(SERIAL, sram_bytes=found.min_sram_bytes)).row.value is not None


@pytest.mark.parametrize(
    ("scheduler", "sram_bytes", "limit_s", "words"),
    [
        ("cp-sat", 2048, 8.0, "no plan of this kind fits in less than"),
        ("serial", 2048, 2.0, NOTHING_FOUND),
        ("serial", 500, 2.0, "must exceed the"),
    ],
)
def test_a_point_that_does_not_fit_keeps_its_limit(
    scheduler: str, sram_bytes: int, limit_s: float, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search and the least SRAM share the limit; if it is too short, the row says what finds the least."""
    monkeypatch.setattr(time, "monotonic", time.process_time)
    for remembered in ("_relaxed", "_steps_down", "_least_sram"):
        getattr(least_module, remembered).cache_clear()
    point = Point(
        "zoo:ds_cnn", load("zoo:ds_cnn"), SERIAL.target, sram_bytes, "latency", scheduler, None, None,
        Budget(limit_s, 1, 1),
    )  # fmt: skip
    begun = time.process_time()
    row = solve_point(point).row
    assert time.process_time() - begun < limit_s * 1.1 + 2
    assert (row.status, row.value) == ("infeasible", None)
    assert words in (row.reason or "")
    assert row.min_sram_bytes is not None or (row.reason or "").count("--min-sram") == 1


def test_a_search_without_time_has_the_least_as_its_reason() -> None:
    """Where the search only knows that it ended too soon, the row says what would fit instead."""
    slow = Result("cp-sat", Status.INFEASIBLE, None, None, 0, 1.0, f"{NOTHING_FOUND} (and so on)")
    little = replace(SERIAL, sram_bytes=2000)
    assert _reason(little, slow, 2560) == "the least SRAM known to work is 2560 bytes, 560 more than given"
    assert _reason(little, slow, None) == slow.reason
    assert _reason(little, slow, 1984) == slow.reason
    assert _reason(little, replace(slow, reason="no tiling fits"), 2560) == "no tiling fits"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sram_bytes": 1 << 20}, "must not exceed the 286720 usable bytes"),
        ({"sram_bytes": 1000}, "must exceed the 1280 bytes"),
        ({"target": target("nrf52840-nor"), "io": "storage"}, "no storage that takes writes"),
    ],
)
def test_options_that_do_not_go_together_are_rows(change: dict[str, object], words: str) -> None:
    """What a target cannot do is a row with its reason, not an error."""
    row = solve_point(replace(SERIAL, **change)).row  # type: ignore[arg-type]
    assert row.status == "infeasible"
    assert words in (row.reason or "")


def test_a_finished_point_is_read_as_it_was_written(less: Known) -> None:
    """The file of a point holds all of it."""
    assert Known.from_text(less.to_text(), "file") == less


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"schema": "ooc-sweep-point/1", "row": {}, "plan": null}'])
def test_a_damaged_file_is_refused(text: str) -> None:
    """A file that is not as it was written is named, with what to do."""
    with pytest.raises(InputError, match=r"^points/x\.json: .* delete the file to solve it again\.$"):
        Known.from_text(text, "points/x.json")


def test_columns_have_one_type_each() -> None:
    """Every column is of texts, whole numbers or numbers."""
    assert set(columns().values()) == {str, int, float}
