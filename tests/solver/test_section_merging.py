"""Tests of `section_merging`: some hundreds of tasks of a long schedule merged anew between what stays."""

from __future__ import annotations

from functools import cache

from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Budget, Plan
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver.heuristics import double_buffering, finish, serial
from ooc_solve.solver.placed_merging import NARROW, SLIM
from ooc_solve.solver.section_merging import SectionMerger
from ooc_solve.solver.timetable import Timetable
from ooc_solve.solver.validate import validate
from ooc_solve.solver.windows import SECTIONS_FROM, shortened


@cache
def _planned(name: str, target: str, sram_bytes: int, rule: str) -> tuple[Problem, Plan]:
    problem = Problem(zoo_network(name), load_target(target), sram_bytes, IoPlace.STORAGE)
    plan = {"serial": serial, "double": double_buffering}[rule](problem, Budget()).plan
    assert plan is not None
    return problem, plan


def _long() -> tuple[Problem, Plan]:
    """About two thousand tasks on three resources, where memory is tight."""
    return _planned("ds_cnn", "h747-qspi", 4736, "double")


def test_sections_become_shorter_and_keep_every_rule() -> None:
    """What comes before stays, what comes after moves as it is, and the validator finds nothing wrong."""
    problem, plan = _long()
    table, merger = Timetable.of(plan.graph, plan.schedule), SectionMerger(problem, plan.graph)
    shortened_ones = 0
    for at in range(0, len(plan.graph.tasks), 120):
        cuts = merger.cuts(table)
        first, end = int(cuts[cuts <= at][-1]), int(cuts[cuts >= min(at + 120, cuts[-1])][0])
        found = merger.merged(table, first, end, SLIM)
        if found is None:
            continue
        assert all(found.start_ns[t] == table.earliest_ns[t] for t in table.sequence[:first])
        assert len({table.latest_ns[t] - found.start_ns[t] for t in table.sequence[end:]}) <= 1
        moved = table.moved(table.sequence[first:end], found)
        assert moved.makespan_ns < table.makespan_ns
        table, shortened_ones = moved, shortened_ones + 1
    assert shortened_ones > 2
    made = finish(problem, plan.selection, plan.graph, table.schedule, "sections")
    assert made.figures.latency_ns == table.makespan_ns
    assert not validate(problem, made)


def test_a_section_of_everything_is_a_merge() -> None:
    """From nothing to the end: no buffer is where it was, and less time than where nothing overlaps."""
    problem, plan = _planned("resnet8", "h747-qspi", 32768, "serial")
    table, merger = Timetable.of(plan.graph, plan.schedule), SectionMerger(problem, plan.graph)
    found = merger.merged(table, 0, len(plan.graph.tasks), NARROW)
    assert found is not None
    assert not merger.fixed
    made = finish(problem, plan.selection, plan.graph, found, "sections")
    assert made.figures.latency_ns < plan.figures.latency_ns
    assert not validate(problem, made)


def test_sections_begin_where_every_queue_is_in_its_order() -> None:
    """Two loads of a channel that have changed places are both on one side of every cut."""
    problem, plan = _planned("resnet8", "h747-qspi", 32768, "serial")
    merger = SectionMerger(problem, plan.graph)
    table = Timetable.of(plan.graph, plan.schedule)
    assert merger.cuts(table).tolist() == list(range(len(plan.graph.tasks) + 1))
    (queue,) = (q for q in merger.queues if q[0] == table.sequence[0])
    swapped = list(table.sequence)
    one, other = swapped.index(queue[1]), swapped.index(queue[2])
    swapped[one], swapped[other] = swapped[other], swapped[one]
    object.__setattr__(table, "sequence", tuple(swapped))
    missing = set(range(len(swapped) + 1)) - set(merger.cuts(table).tolist())
    assert missing == set(range(one + 1, other + 1))
    assert merger.is_cut(table, one, other + 1)
    assert not merger.is_cut(table, one + 1, len(swapped))


def test_long_plans_are_merged_before_their_windows_are_solved() -> None:
    """With the work of some sections alone a long plan is shortened already."""
    problem, plan = _long()
    assert len(plan.graph.tasks) >= SECTIONS_FROM
    found = shortened(problem, plan.graph, plan.schedule, 0.2)
    made = finish(problem, plan.selection, plan.graph, found, "sections")
    assert made.figures.latency_ns < plan.figures.latency_ns
    assert not validate(problem, made)
