"""Orders of operators: the one with the least peak against every order there is."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ooc_solve.models.operator_order import in_order
from ooc_solve.models.problem import IoPlace
from ooc_solve.models.vocabulary import DType, Network, Op, OpKind, Tensor
from ooc_solve.solver import ordering
from ooc_solve.solver.ordering import least_peak, peak_bytes


def network_of(sizes: list[int], reads: list[tuple[int, ...]], outputs: tuple[int, ...] = ()) -> Network:
    """A network with a tensor of so many bytes per entry, tensor 0 its input; operator k makes tensor k + 1."""
    tensors = {f"t{k}": Tensor(f"t{k}", 1, 1, size, DType.INT8) for k, size in enumerate(sizes)}
    ops = tuple(
        Op(f"op{k}", OpKind.ADD if len(names) > 1 else OpKind.MAX_POOL, names, f"t{k + 1}")
        for k, names in enumerate(tuple(f"t{r}" for r in sources) for sources in reads)
    )
    return Network("net", tensors, ops, ("t0",), tuple(f"t{k}" for k in outputs or (len(reads),)))


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """Up to six operators that each read one or two tensors made before; what nobody reads is an output."""
    count = draw(st.integers(1, 6))
    sizes = draw(st.lists(st.integers(1, 9), min_size=count + 1, max_size=count + 1))
    reads: list[tuple[int, ...]] = []
    for k in range(count):
        first, second = draw(st.integers(0, k)), draw(st.integers(0, k))
        reads.append((first, second) if first != second else (first,))
    read = {source for sources in reads for source in sources}
    return network_of(sizes, reads, tuple(k for k in range(1, count + 1) if k not in read))


def all_orders(network: Network) -> Iterator[tuple[int, ...]]:
    """Every order in which each operator follows those whose results it reads."""
    for order in permutations(range(len(network.ops))):
        try:
            in_order(network, order)
        except ValueError:
            continue
        yield order


def held_at_once(network: Network, io: IoPlace, order: tuple[int, ...]) -> int:
    """Most bytes held during a step, from the first and last step at which each tensor is touched."""
    ends = set() if io is IoPlace.STORAGE else {*network.inputs, *network.outputs}
    steps = [{*network.ops[k].inputs, network.ops[k].output} for k in order]
    span = {
        name: [step for step, touched in enumerate(steps) if name in touched]
        for name in network.tensors.keys() - ends
    }
    return max(
        sum(network.tensors[n].size_bytes for n, at in span.items() if at and at[0] <= step <= at[-1])
        for step in range(len(steps))
    )


@settings(deadline=None)
@given(networks(), st.sampled_from(IoPlace))
def test_no_order_has_a_lower_peak(network: Network, io: IoPlace) -> None:
    """The order found has the least peak of all orders, counted in another way."""
    found = least_peak(network, io)
    assert found.proven
    peaks = {order: held_at_once(network, io, order) for order in all_orders(network)}
    assert peaks[found.order] == min(peaks.values())
    assert all(peak_bytes(network, io, order) == peak for order, peak in peaks.items())


WIDE = network_of(
    [1, 40, 2, 40, 2, 40, 2, 1, 1],
    [(0,), (1,), (0,), (3,), (0,), (5,), (2, 4), (7, 6)],
)
"""Three branches that grow and shrink, listed one after the other."""


def test_branches_one_after_the_other() -> None:
    """An order that opens all branches at once is given up for one that finishes each before the next."""
    listed = (0, 2, 4, 1, 3, 5, 6, 7)
    assert peak_bytes(WIDE, IoPlace.STORAGE, listed) == 122
    found = least_peak(WIDE, IoPlace.STORAGE)
    assert found.order == (0, 1, 2, 3, 6, 4, 5, 7)  # adds up two branches before it opens the third
    assert peak_bytes(WIDE, IoPlace.STORAGE, found.order) == 45


def test_a_chain_has_one_order() -> None:
    """A network without branches keeps its order."""
    chain = network_of([3, 1, 4, 1, 5], [(0,), (1,), (2,), (3,)])
    assert least_peak(chain, IoPlace.STORAGE).order == (0, 1, 2, 3)


def test_too_many_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for a few sets only, an order is still found, but it is not called proven."""
    monkeypatch.setattr(ordering, "MOST_SETS", 2)
    network = network_of([1] + [5] * 8, [(0,)] * 8, tuple(range(1, 9)))
    found = least_peak(network, IoPlace.STORAGE)
    assert not found.proven
    assert sorted(found.order) == list(range(8))
