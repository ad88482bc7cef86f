"""The second process proves what the first one would, never more; and nothing is left of it, whatever happens."""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.connection import Connection

import pytest

from ooc_solve.models.operator_order import ordered
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.vocabulary import Budget, Network, Objective, Result, Target
from ooc_solve.solver import descent
from ooc_solve.solver.deadline import ends_at
from ooc_solve.solver.heuristics import double_buffering, space_of
from ooc_solve.solver.ladder import at_size
from ooc_solve.solver.relaxation import Relaxation
from ooc_solve.solver.second_process import SecondProcess, can_fork, usual_workers
from ooc_solve.solver.solve import cp_sat
from ooc_solve.solver.space_bounds import orders_of
from ooc_solve.solver.validate import validate

NEVER_S = 600.0
"""Nothing here takes so long, on however busy a machine."""

WORSE = 2**62
"""No plan is so bad."""

pytestmark = pytest.mark.skipif(not can_fork(), reason="needs a system that copies processes")


@pytest.fixture
def second() -> Iterator[SecondProcess]:
    """A second process that has not begun, and is ended behind the test."""
    made = SecondProcess()
    yield made
    made.end()
    assert not multiprocessing.active_children()


@pytest.fixture
def own_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time is that of the processor, so that it does not matter what else the machine does."""
    monkeypatch.setattr(time, "monotonic", time.process_time)


def problem_of(network: Network, target: Target, sram_bytes: int, aim: Objective) -> Problem:
    """Input and output on the card."""
    return Problem(network, target, sram_bytes, IoPlace.STORAGE, aim)


def climbed(problem: Problem, size: int) -> int:
    """What this process proves of the options of one rung, in the arena of the problem."""
    found = []
    for there in orders_of(problem):
        relaxation = Relaxation(there, [space_of(ordered(at_size(problem, size), there.network.order))])
        relaxation.climb()
        found.append(relaxation.bound)
    return min(found)


def proven(second: SecondProcess, rungs: int) -> int:
    """What the second process proves in the end."""
    second.wait(rungs, WORSE, time.monotonic() + NEVER_S)
    return second.bound(rungs)


def pid_of(second: SecondProcess) -> int:
    """The number of the process."""
    assert second._process is not None
    assert second._process.pid is not None
    return second._process.pid


# -------------------------------------------------------------------------- what it proves


@pytest.mark.parametrize("objective", [Objective.LATENCY, Objective.ENERGY])
def test_it_proves_what_one_process_does(
    second: SecondProcess, tiny_network: Network, tiny_target: Target, objective: Objective
) -> None:
    """Its bounds are those of the relaxation, also for a rung that is asked for later, and no plan is below them."""
    problem = problem_of(tiny_network, tiny_target, 7168, objective)
    first, both = climbed(problem, 7168), min(climbed(problem, size) for size in (7168, 6144))
    second.begin(problem, [7168], (), NEVER_S)
    assert (second.covers(1), second.covers(2)) == (True, False)
    assert proven(second, 1) == first
    second.include(6144)
    assert proven(second, 2) == both
    assert second.covers(2)
    assert second.bound(1) == 0  # it holds for both rungs, and nobody has asked for less
    plan = double_buffering(problem, Budget()).objective
    assert plan is not None
    assert 0 < both <= first <= plan


def test_it_goes_on_from_relaxations_that_are_known(
    second: SecondProcess, tiny_network: Network, tiny_target: Target
) -> None:
    """With the relaxations of its parent it proves the same, and raises none of the parent's own."""
    problem = problem_of(tiny_network, tiny_target, 7168, Objective.LATENCY)
    known = [Relaxation(there, [space_of(there)]) for there in orders_of(problem)]
    before = [relaxation.bound for relaxation in known]
    second.begin(problem, [7168], known, NEVER_S)
    assert proven(second, 1) == climbed(problem, 7168)
    assert [relaxation.bound for relaxation in known] == before


@pytest.mark.usefixtures("own_clock")
def test_it_has_a_clock_of_its_own(second: SecondProcess, tiny_network: Network, tiny_target: Target) -> None:
    """Where time is that of the processor its limit is in its own, of which it has used none when it begins."""
    problem = problem_of(tiny_network, tiny_target, 7168, Objective.LATENCY)
    with ends_at(time.monotonic() - 1):  # the end of the parent's time is not its own
        second.begin(problem, [7168], (), NEVER_S)
    assert proven(second, 1) == climbed(problem, 7168)


# ----------------------------------------------------------------------- within a search


LIMIT_S = 60.0

BESIDE_FROM_S = descent.BESIDE_FROM_S
"""As it is where no tests run."""


def searched(problem: Problem, workers: int, progress: descent.Progress | None = None) -> Result:
    """What a search that ends long before its limit finds; no process is left behind it."""
    result = cp_sat(problem, Budget(LIMIT_S, workers, 1), progress)
    assert not multiprocessing.active_children()
    assert result.plan is not None
    assert result.objective is not None
    assert validate(problem, result.plan) == ()
    assert 0 < result.bound <= result.objective
    return result


@pytest.fixture(scope="module")
def problem(tiny_network: Network, tiny_target: Target) -> Iterator[Problem]:
    """A small problem, whose best plan is found with little effort, and where time is that of the processor."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "monotonic", time.process_time)
        patch.setattr(descent, "EFFORT_PER_SECOND", 20)
        patch.setattr(descent, "BESIDE_FROM_S", BESIDE_FROM_S)
        yield problem_of(tiny_network, tiny_target, 7168, Objective.LATENCY)


@pytest.fixture(scope="module")
def alone(problem: Problem) -> Result:
    """What one process finds."""
    found = searched(problem, 1)
    assert found.processes == 1
    return found


def test_two_processes_find_the_plan_that_one_finds(problem: Problem, alone: Result) -> None:
    """With enough time the second process changes no plan, and the bound is no lower for it."""
    both = searched(problem, 2)
    assert both.processes == 2
    assert both.plan == alone.plan
    assert both.bound >= alone.bound


def test_no_new_options_are_taken_in_late(monkeypatch: pytest.MonkeyPatch, problem: Problem) -> None:
    """After the share of one process the search goes on only with a second one that covers all, and there only."""
    known = double_buffering(problem, Budget()).plan
    search = descent.Descent(problem, Budget(1000.0, 2, 1), None, 0.0, known=[known])
    search.begun, search.deadline = search.begun - 800, search.deadline - 800
    monkeypatch.setattr(descent.Descent, "is_small", lambda *options: False)
    for covered, over in ((True, False), (False, True)):
        monkeypatch.setattr(SecondProcess, "covers", lambda *options, answer=covered: answer)
        assert (search.over, search.late) == (over, True)


def test_its_bound_is_heard(monkeypatch: pytest.MonkeyPatch, problem: Problem) -> None:
    """What the second process proves is in the result where the first one proves nothing."""
    monkeypatch.setattr(descent.Descent, "_prove_here", lambda *options: None)
    monkeypatch.setattr(descent.Rung, "bound", 1)
    assert searched(problem, 2).bound == climbed(problem, 7168)


def test_a_search_goes_on_alone(monkeypatch: pytest.MonkeyPatch, problem: Problem, alone: Result) -> None:
    """Where the second process dies as soon as it is there, the result is that of one process."""
    begin = SecondProcess.begin
    killed = []

    def begin_and_die(second: SecondProcess, *options: object) -> None:
        begin(second, *options)  # type: ignore[arg-type]
        killed.append(pid_of(second))
        os.kill(killed[0], signal.SIGKILL)

    monkeypatch.setattr(SecondProcess, "begin", begin_and_die)
    bereft = searched(problem, 2)
    assert len(killed) == 1
    assert (bereft.plan, bereft.bound, bereft.processes) == (alone.plan, alone.bound, 1)


def test_ctrl_c_leaves_a_plan_and_a_bound(problem: Problem) -> None:
    """Whoever interrupts a search with a second process has the plan and the bound by then."""

    def interrupt(*state: object) -> None:
        if multiprocessing.active_children():
            raise KeyboardInterrupt

    result = searched(problem, 2, interrupt)
    assert "interrupted" in result.reason
    assert result.processes == 2


@pytest.mark.parametrize(
    "less",
    [{"workers": 1}, {"time_limit_s": BESIDE_FROM_S / 2}],
)
def test_no_process_is_started_for_nothing(
    monkeypatch: pytest.MonkeyPatch, problem: Problem, less: dict[str, float]
) -> None:
    """Where one process was asked for, or time is short, there is no second one."""
    monkeypatch.setattr(SecondProcess, "begin", lambda *options: pytest.fail("there is one"))
    budget = replace(Budget(LIMIT_S, 2, 1), **less)  # type: ignore[arg-type]
    assert cp_sat(problem, budget).processes == 1


# --------------------------------------------------------------------- how it comes and goes


def test_ctrl_c_is_for_the_parent(second: SecondProcess, tiny_network: Network, tiny_target: Target) -> None:
    """An interruption of all processes does not reach the second one, from the start on."""
    problem = problem_of(tiny_network, tiny_target, 7168, Objective.LATENCY)
    second.begin(problem, [7168], (), NEVER_S)
    os.kill(pid_of(second), signal.SIGINT)
    assert proven(second, 1) == climbed(problem, 7168)
    assert second.works


def test_what_was_told_outlives_it(second: SecondProcess, tiny_network: Network, tiny_target: Target) -> None:
    """A bound that was heard is kept when the process is gone, which is noticed, and nobody waits for more."""
    problem = problem_of(tiny_network, tiny_target, 7168, Objective.LATENCY)
    second.begin(problem, [7168], (), NEVER_S)
    bound, pid = proven(second, 1), pid_of(second)
    os.kill(pid, signal.SIGKILL)
    second.wait(2, WORSE, time.monotonic() + NEVER_S)
    assert not second.works
    second.include(6144)
    assert (second.bound(1), second.bound(2)) == (bound, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)  # not even a zombie


ORPHANED = """
import os, signal
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver.second_process import SecondProcess

problem = Problem(zoo_network("resnet8"), load_target("f746-sd"), 15872, IoPlace.STORAGE)
second = SecondProcess()
second.begin(problem, [15872], (), 3600.0)
os.kill(os.getpid() if second.works else 0, signal.SIGKILL)
"""


def test_it_ends_with_its_parent() -> None:
    """When its parent is killed in the middle of everything it is soon gone."""
    ours, theirs = os.pipe()  # which both processes hold open as long as they are there
    dead = subprocess.run([sys.executable, "-c", ORPHANED], pass_fds=[theirs], check=False)
    os.close(theirs)
    with open(ours, "rb") as held:
        assert dead.returncode == -signal.SIGKILL
        assert select.select([held], [], [], NEVER_S)[0]
        assert held.read() == b""


def _ask_for_one(answer: Connection) -> None:
    answer.send(can_fork())


def test_daemonic_processes_have_none() -> None:
    """Such as the workers of Dask: they solve alone."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_ask_for_one, args=(theirs,), daemon=True)
    process.start()
    assert ours.recv() is False
    process.join()


def test_usual_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a process for each processor that this one may use, and no more than two."""
    for processors, workers in (({0}, 1), ({0, 3}, 2), (set(range(64)), 2)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, found=processors: found)
        assert usual_workers() == workers
