"""Bytes written as a coordinate of the relaxation; that no plan within a budget beats it is tested with the tolls."""

from __future__ import annotations

from dataclasses import replace

from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Network
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver.heuristics import space_of
from ooc_solve.solver.options import KEPT
from ooc_solve.solver.relaxation import Relaxation
from ooc_solve.solver.thrift import NS_PER_UNIT, Thrift, counters_of
from ooc_solve.solver.tolls import Tolls

FREE = Problem(zoo_network("resnet8"), load_target("f746-sd"), 32 * 1024, IoPlace.STORAGE)


def within(most_bytes: int) -> Problem:
    """ResNet-8 in 32 KiB under a write budget."""
    return replace(FREE, write_budget_bytes=most_bytes)


def test_a_path_is_above_zero_where_it_writes_more_than_the_budget() -> None:
    """Options add whole granules of what they write; the sum with the start is above 0 just above the budget."""
    problem = within(16 * 1024 - 1)
    (thrift,) = counters_of(problem, Tolls(problem))
    assert isinstance(thrift, Thrift)
    spilled = [option for option in space_of(problem).options[0] if option.output != KEPT]
    sizes = {option.bytes_written: thrift.of(0, option)[0][0] for option in spilled}
    assert set(sizes) == {8 * 1024, 16 * 1024}
    for size, added in sizes.items():
        assert (thrift.start_ns[0] + added > 0) == (size > 16 * 1024 - 1)
        assert added % NS_PER_UNIT == 0
    assert counters_of(FREE, Tolls(FREE)) == ()


def test_what_only_a_plan_above_the_budget_needs_is_ruled_out() -> None:
    """Where 16 kB may be written, no tensor of 16 KiB is spilled; with a byte less than the output nothing is left."""
    first = within(16_000)
    relaxation = Relaxation(first, [space_of(first)])
    relaxation.assume(relaxation.tolls.limit(1 << 36))
    left = [option for options in relaxation.survivors for option in options]
    assert left
    assert all(option.bytes_written <= 16_000 for option in left)
    assert any(option.bytes_written > 16_000 for options in space_of(first).options for option in options)
    output = within(511)
    assert not Relaxation(output, [space_of(output)]).feasible
    assert Relaxation(within(512), [space_of(within(512))]).feasible


def test_an_output_that_is_read_again_is_counted_once() -> None:
    """Two kept outputs are stored whole, each once, also where an operator reads the first one."""
    whole = zoo_network("ds_cnn")
    first, second = whole.ops[:2]
    tensors = {name: whole.tensors[name] for name in (*first.inputs, first.output, second.output)}
    network = Network("two", tensors, (first, second), whole.inputs, (first.output, second.output))
    problem = Problem(network, load_target("f746-sd"), 64 << 10, IoPlace.STORAGE, write_budget_bytes=1 << 20)
    tolls, space = Tolls(problem), space_of(problem)
    kept = [next(o for o in options if {*o.inputs[:1], o.output} == {KEPT}) for options in space.options]
    assert [tolls.written(stage, option) for stage, option in enumerate(kept)] == [
        -(-tensors[op.output].size_bytes // 512) * 512 for op in (first, second)
    ]
