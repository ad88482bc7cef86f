"""Advice: every change is solved again, ranked by what was found, within the time limit."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ooc_solve.advice import (
    NO_GAIN,
    NOT_TRIED,
    Advice,
    Answer,
    _answer,
    _restricts,
    advise,
    remarks,
    rows,
)
from ooc_solve.api import advise as advise_from_python
from ooc_solve.api import load, target
from ooc_solve.cli import main
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.vocabulary import Budget, Plan, Selection
from ooc_solve.receptive_field import Halo
from ooc_solve.solver.plans import carried
from ooc_solve.solver.validate import validate
from ooc_solve.what_if import AS_IS, WhatIf, what_ifs


@pytest.fixture(scope="module")
def plan(
    tiny_problem: Problem, tiny_selection: Selection, planned: Callable[[Problem, Selection, bool], Plan]
) -> Plan:
    """A plan of the tiny problem that could be better."""
    return planned(tiny_problem, tiny_selection, True)


HARMLESS = ("16 KiB of SRAM", "64 KiB of SRAM", "port sdio at twice its clock")


def only(
    monkeypatch: pytest.MonkeyPatch, problem: Problem, plan: Plan | None, words: tuple[str, ...]
) -> None:
    """Let only some changes be tried."""
    found = tuple(change for change in what_ifs(problem, plan) if change.change in words)
    assert len(found) == len(words)
    monkeypatch.setattr("ooc_solve.advice.what_ifs", lambda problem, plan: found)


@pytest.fixture(scope="module")
def advice(tiny_problem: Problem, plan: Plan) -> Advice:
    """What some changes bring."""
    with pytest.MonkeyPatch.context() as patch:
        only(patch, tiny_problem, plan, (*HARMLESS, "input and output in sram", "8 KiB of SRAM"))
        return advise(tiny_problem, plan, Budget(10.0, 1, 1))


def test_every_change_has_an_answer(advice: Advice) -> None:
    """Each has a value and a bound below it, or a reason why there is none."""
    assert {answer.change for answer in advice.answers} == {
        AS_IS, *HARMLESS, "input and output in sram", "8 KiB of SRAM",
    }  # fmt: skip
    assert next(answer for answer in advice.answers if answer.change == AS_IS).value is not None
    for answer in advice.answers:
        if answer.value is None:
            assert answer.reason
        else:
            assert answer.bound is not None
            assert 0 < answer.bound <= answer.value


def test_the_best_comes_first(advice: Advice) -> None:
    """Values rise along the list, changes without a plan come last, and differences are against what is."""
    values = [answer.value for answer in advice.answers if answer.value is not None]
    assert values == sorted(values)
    assert all(answer.value is None for answer in advice.answers[len(values) :])
    assert advice.base is not None
    for answer in advice.answers[: len(values)]:
        assert answer.value is not None
        assert answer.change_share == (answer.value - advice.base) / advice.base


def test_what_the_plan_can_use_does_no_harm(advice: Advice, plan: Plan) -> None:
    """More SRAM or a faster link is never worse than the plan that is known."""
    found = [answer for answer in advice.answers if answer.change in (AS_IS, *HARMLESS)]
    for answer in found:
        assert answer.reason == NOT_TRIED or answer.value is not None
        assert (answer.value or 0) <= plan.figures.latency_ns


def test_a_plan_is_carried_where_it_can_be(tiny_problem: Problem, plan: Plan) -> None:
    """With more SRAM it is the same, with a faster link earlier, and elsewhere there is none."""
    changed = {change.change: change.problem for change in what_ifs(tiny_problem, plan)}
    more = carried(changed["64 KiB of SRAM"], plan)
    assert more is not None
    assert more.schedule.address == plan.schedule.address
    assert more.figures.latency_ns <= plan.figures.latency_ns
    link = changed["port sdio at twice its clock"]
    faster = carried(link, plan)
    assert faster is not None
    assert validate(link, faster) == ()
    assert carried(replace(tiny_problem, io=IoPlace.SRAM), plan) is None
    assert carried(replace(tiny_problem, sram_bytes=2048), plan) is None


def test_no_time_is_told(tiny_problem: Problem, plan: Plan) -> None:
    """What the limit leaves no room for is told as not tried, and takes no time."""
    begun = time.process_time()
    found = advise(tiny_problem, plan, Budget(1e-9, 1, 1))
    assert {answer.reason for answer in found.answers} == {NOT_TRIED}
    assert time.process_time() - begun < 5
    assert any(words.startswith("Not tried") for words in remarks(found))


def test_shares_add_up(tiny_problem: Problem, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each search is given an equal share of what is left, and none begins that would end too late."""
    shares: list[float] = []

    def answered(change: object, known: object, budget: Budget, bound: int) -> Answer:
        shares.append(budget.time_limit_s)
        return Answer(str(len(shares)), 1, 1, None, 1, 25.0, "")

    clock = iter(range(0, 10_000, 25))
    monkeypatch.setattr("ooc_solve.advice._answer", answered)
    monkeypatch.setattr("ooc_solve.advice.time.monotonic", lambda: float(next(clock)))
    count = 1 + len(what_ifs(tiny_problem, plan))
    advise(tiny_problem, plan, Budget(100.0, 1, 1))
    assert shares == [75 / count, 50 / (count - 1)]


def test_enough_time_is_more_time(tiny_problem: Problem, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit that may do counts what the plan itself was given: twice as much, where advice had one half."""
    only(monkeypatch, tiny_problem, plan, HARMLESS)
    begun: list[object] = []

    def answered(change: object, known: object, budget: Budget, bound: int) -> Answer:
        begun.append(change)
        return Answer(str(len(begun)), 1, 1, None, 1, 20.0, "")

    monkeypatch.setattr("ooc_solve.advice._answer", answered)
    monkeypatch.setattr("ooc_solve.advice.time.monotonic", lambda: 20.0 * len(begun))
    found = advise(tiny_problem, plan, Budget(60.0, 1, 1), limit_s=120.0)
    assert len(begun) == 2
    assert found.enough_s == 180  # twice the 80 s of four searches, a tenth more, up to the next ten
    assert any("--time-limit 180 may do" in words for words in remarks(found))


def test_what_computing_alone_rules_out_is_not_searched(
    tiny_problem: Problem, plan: Plan, advice: Advice
) -> None:
    """A CPU a hundred times slower cannot help, which is proven before any search."""
    board = tiny_problem.target.board
    slower = replace(tiny_problem.target, board=replace(board, clock_hz=board.clock_hz // 100))
    change = WhatIf("a slow CPU", replace(tiny_problem, target=slower))
    answer = _answer(change, plan, Budget(10.0, 1, 1), 0)
    assert (answer.value, answer.reason) == (None, NO_GAIN)
    assert answer.bound is not None
    assert answer.bound > plan.figures.latency_ns
    told = remarks(replace(advice, answers=(answer,)))
    assert any(words.startswith("a slow CPU: no gain, computing alone takes") for words in told)


def test_less_sram_has_the_bound_of_more(tiny_problem: Problem) -> None:
    """What is proven holds with less SRAM and shallower patches too, and for nothing else."""
    changed = {change.change: change.problem for change in what_ifs(tiny_problem, None)}
    assert _restricts(tiny_problem, tiny_problem)
    assert _restricts(tiny_problem, changed["8 KiB of SRAM"])
    assert _restricts(tiny_problem, replace(tiny_problem, patch_depth=1))
    for other in ("64 KiB of SRAM", "port sdio at twice its clock", "patches through up to 16 layers"):
        assert not _restricts(tiny_problem, changed[other])


def test_what_is_proven_stays_proven(
    tiny_problem: Problem, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The problem as it is has at least the bound that was known before."""
    monkeypatch.setattr("ooc_solve.advice.what_ifs", lambda problem, plan: ())
    without = advise(tiny_problem, plan, Budget(1.0, 1, 1)).answers[0]
    assert without.bound is not None
    assert without.value is not None
    known = without.value - 1
    found = advise(tiny_problem, plan, Budget(1.0, 1, 1), bound=known).answers[0]
    assert found.bound is not None
    assert found.bound >= known


def test_terminal_fits_80_columns(advice: Advice) -> None:
    """The table names every change with a plan, and no line is longer than a narrow terminal."""
    lines = repr(advice).splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert len(list(rows(advice))) == sum(answer.value is not None for answer in advice.answers)
    assert AS_IS in repr(advice)


def test_overlaps_are_told(advice: Advice) -> None:
    """A kernel that makes patches overlap is named with its rows and what is computed again."""
    told = remarks(
        replace(advice, halos=(Halo(0, "conv", (3, 3), 4, 0.25), Halo(0, "point", (5, 5), 2, 0.0)))
    )
    assert (
        "Patches: conv (3x3) makes them overlap by 4 rows of the stage's input; 25.0% is computed again."
        in told
    )
    assert (
        "Patches overlap by rows of the stage's input that are kept, so nothing is computed again: point (5x5) by 2."
        in told
    )


def test_advice_when_nothing_fits(tiny_problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a plan the changes still say what would make one."""
    little = replace(tiny_problem, sram_bytes=1500)
    only(monkeypatch, little, None, ("64 KiB of SRAM",))
    found = advise(little, None, Budget(2.0, 1, 1))
    assert found.base is None
    fitting = [answer for answer in found.answers if answer.value is not None]
    assert fitting
    assert all(answer.change_share is None for answer in fitting)


def test_command_and_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--advise prints the table, and puts the same into the JSON report and the page."""
    file, page = tmp_path / "r.json", tmp_path / "r.html"
    call = ["zoo:autoencoder", "--sram", "24KiB", "--time-limit", "1", "--scheduler", "serial", "--advise"]
    assert main([*call, "--json", str(file), "--report", str(page)]) == 0
    out = capsys.readouterr().out
    assert all(len(line) <= 80 for line in out.splitlines())
    found = json.loads(file.read_text())["advice"]
    assert {one["change"] for one in found["what_ifs"]} > {"32 KiB of SRAM", AS_IS}
    assert AS_IS in out
    text = page.read_text()
    for one in found["what_ifs"]:
        assert one["change"] in text
        if one["value"] is not None:
            assert f"{one['value'] / 1e6:,.2f}" in out
            assert f"{one['value'] / 1e6:,.2f}" in text


def test_from_python() -> None:
    """The library gives the same advice."""
    found = advise_from_python(load("zoo:autoencoder"), target("f746-sd"), "24KiB", time_limit=1.0)
    assert found.base is not None
    assert isinstance(repr(found), str)
