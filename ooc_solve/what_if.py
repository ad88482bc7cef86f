"""What could be changed about a problem: SRAM, links, storage parts, places, quantisation, patches, kernels.

Each change is a problem of its own, to be solved like any other. Networks with other kernels or in int8 are only
for planning: they have the right shapes, and weights that nobody has trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import zip_longest

from ooc_solve.layer_names import short_names
from ooc_solve.models.int8_twin import int8_twin
from ooc_solve.models.operator_order import listed
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import CARRIES, list_storage, list_targets
from ooc_solve.models.vocabulary import Board, Network, OocError, Op, Plan, Port, Storage, Store, Target
from ooc_solve.receptive_field import cut_kernels, halos, redistributed, shrunk, shrunk_op

MOST_KERNELS = 3
"""Kernels that are made smaller one by one."""

AS_IS = "as it is"


@dataclass(frozen=True, slots=True)
class WhatIf:
    """A change in words, and the problem with it."""

    change: str
    problem: Problem


def what_ifs(problem: Problem, plan: Plan | None) -> tuple[WhatIf, ...]:
    """All changes, one of each kind in turn, so that every kind has its chance when time is short."""
    kinds = (
        list(_quantised(problem)),
        list(_sram(problem)),
        list(_kernels(problem, plan)),
        list(_links(problem)),
        list(_patches(problem, plan)),
        list(_places(problem)),
        list(_parts(problem)),
    )
    mixed = (change for turn in zip_longest(*kinds) for change in turn if change is not None)
    return tuple(change for change in mixed if _possible(change))


def _possible(change: WhatIf) -> bool:
    """Whether the changed target has the room that the network takes in storage."""
    network = change.problem.network
    image = sum(op.weight_bytes for op in network.ops)
    spilled = sum(tensor.size_bytes for tensor in network.tensors.values())
    return all(2 * (image + spilled) < store.storage.capacity_bytes for store in change.problem.target.stores)


# ------------------------------------------------------------------------------------------ SRAM


def _sram(problem: Problem) -> Iterator[WhatIf]:
    """The next powers of two, twice and half as much, and all that the board has."""
    size, full = problem.sram_bytes, problem.target.board.usable_bytes
    above = {1 << size.bit_length(), 2 * size, full}
    below = {1 << ((size - 1).bit_length() - 1), size // 2}
    for other in sorted(above | below, key=lambda other: (other < size, abs(other - size))):
        if other == size or other <= problem.reserved_bytes:
            continue
        beyond = " (a larger board)" if other > full else ""
        board = _with_room(problem.target.board, other)
        changed = replace(problem, sram_bytes=other, target=replace(problem.target, board=board))
        yield WhatIf(f"{other / 1024:g} KiB of SRAM{beyond}", changed)


def _with_room(board: Board, size_bytes: int) -> Board:
    """The board, or one whose largest bank is as much larger as it takes."""
    if size_bytes <= board.usable_bytes:
        return board
    banks = sorted(board.banks, key=lambda bank: -bank.size_bytes)
    missing = max(0, size_bytes - sum(bank.size_bytes for bank in banks))
    banks[0] = replace(banks[0], size_bytes=banks[0].size_bytes + missing)
    return replace(board, usable_bytes=size_bytes, banks=tuple(banks))


# --------------------------------------------------------------------------- links and storage


def _links(problem: Problem) -> Iterator[WhatIf]:
    """The same parts behind a port of twice the clock, and behind another port of the board."""
    for port in dict.fromkeys(store.port for store in problem.target.stores):
        faster = replace(port, clock_hz=2 * port.clock_hz, peak_bytes_per_s=2 * port.peak_bytes_per_s)
        yield WhatIf(f"port {port.name} at twice its clock", _behind(problem, port, faster))
        stores = [store for store in problem.target.stores if store.port == port]
        for other in problem.target.board.ports:
            taken = other in [store.port for store in problem.target.stores]
            if not taken and all(store.storage.kind in CARRIES[other.bus] for store in stores):
                names = " and ".join(store.storage.name for store in stores)
                yield WhatIf(f"{names} at port {other.name}", _behind(problem, port, other))


def _behind(problem: Problem, port: Port, other: Port) -> Problem:
    """The problem with what lies behind a port behind another one."""

    def moved(store: Store) -> Store:
        return replace(store, port=other) if store.port == port else store

    return _with_stores(problem, moved)


def _parts(problem: Problem) -> Iterator[WhatIf]:
    """Other parts that the ports carry, in place of each store."""
    target = problem.target
    parts = [part for part in list_storage() if part.name not in _emulated() or target.board.emulator]
    for store in target.stores:
        for part in parts:
            if part.kind in CARRIES[store.port.bus] and _serves(target, store, part):
                yield WhatIf(f"{part.name} for {store.storage.name}", _swapped(problem, store, part))


@cache
def _emulated() -> frozenset[str]:
    """Parts that only exist behind emulated boards."""
    places = [(store.storage.name, t.board.emulator) for t in list_targets() for store in t.stores]
    return frozenset(name for name, _ in places) - {name for name, emulator in places if emulator is None}


def _serves(target: Target, store: Store, part: Storage) -> bool:
    """Whether a part can do what a store does, and not just as the one that is there does."""
    old = store.storage
    same = (part.read, part.write, part.erase, part.endurance) == (
        old.read,
        old.write,
        old.erase,
        old.endurance,
    )
    if same or (store in (target.weights, target.annex) and part.volatile):
        return False
    return store != target.activations or part.erase is None or not part.erase.required


def _swapped(problem: Problem, store: Store, part: Storage) -> Problem:
    def swapped(other: Store) -> Store:
        return replace(other, storage=part) if other == store else other

    return _with_stores(problem, swapped)


def _with_stores(problem: Problem, change: Callable[[Store], Store]) -> Problem:
    """The problem with every store of its target changed; a ring is made for its part and goes with it."""
    target = problem.target
    changed = replace(
        target,
        weights=change(target.weights),
        activations=_maybe(change, target.activations),
        annex=_maybe(change, target.annex),
    )
    same = changed.activations is not None and changed.activations.storage == problem.activation_store.storage
    return replace(problem, target=changed, scratch_ring_bytes=problem.scratch_ring_bytes if same else None)


def _maybe(change: Callable[[Store], Store], store: Store | None) -> Store | None:
    return None if store is None else change(store)


def _places(problem: Problem) -> Iterator[WhatIf]:
    """Input and output in the other place."""
    other = IoPlace.SRAM if problem.io is IoPlace.STORAGE else IoPlace.STORAGE
    try:
        yield WhatIf(f"input and output in {other.value}", replace(problem, io=other))
    except OocError:
        return  # the target has no storage for them


# --------------------------------------------------------------------------- patches and kernels


def _patches(problem: Problem, plan: Plan | None) -> Iterator[WhatIf]:
    """Deeper and shallower fused stages, and none."""
    deep = max((len(span) for span in plan.selection.stages), default=1) if plan is not None else 1
    yield WhatIf("patches through up to 16 layers", replace(problem, patch_depth=16))
    for depth in dict.fromkeys(depth for depth in (deep - 1, deep // 2) if depth > 1):
        yield WhatIf(f"patches through at most {depth} layers", replace(problem, patch_depth=depth))
    if deep > 1:
        yield WhatIf("no patches", replace(problem, patch_depth=1))


def _quantised(problem: Problem) -> Iterator[WhatIf]:
    """The network in int8, if it is in float32."""
    twin = int8_twin(problem.network)
    if twin is not None:
        yield WhatIf("quantised to int8 (--quantize)", replace(problem, network=twin))


def _kernels(problem: Problem, plan: Plan | None) -> Iterator[WhatIf]:
    """Smaller kernels where patches overlap, or where they might begin to help, and larger ones behind them."""
    base, short = listed(problem.network), short_names(listed(problem.network))
    overlapping = [halo.op for halo in halos(problem, plan)] if plan is not None else []
    ops = {op.name: op for op in base.ops}
    names = [n for n in overlapping or cut_kernels(problem) if shrunk_op(base, ops[n])][:MOST_KERNELS]
    together = [names] if names else []
    for chosen in together:
        moved = redistributed(base, chosen, _behind_patches(base, chosen, overlapping))
        if moved is not None:
            network, grown = moved
            larger = ", ".join(_resized(short, ops[n], _op(network, n)) for n in grown)
            words = f"{_smaller(short, ops, chosen)}; {larger} to see as far, trained again"
            yield WhatIf(words, replace(problem, network=network))
    for chosen in [[name] for name in names] + (together if len(names) > 1 else []):
        smaller = shrunk(base, chosen)
        if smaller is not None:
            words = f"{_smaller(short, ops, chosen)}, trained again"
            yield WhatIf(words, replace(problem, network=smaller))


def _behind_patches(network: Network, names: list[str], overlapping: list[str]) -> list[str]:
    """Operators behind the last of those that are made smaller, and of those that make patches overlap."""
    order = [op.name for op in network.ops]
    last = max(order.index(name) for name in (*names, *overlapping))
    return order[last + 1 :]


def _smaller(short: dict[str, str], ops: dict[str, Op], names: list[str]) -> str:
    if len(names) > 1:
        return f"smaller kernels in {', '.join(short[name] for name in names)}"
    high, wide = ops[names[0]].window.kernel
    return f"{short[names[0]]}: {high}x{wide} to {high - 2}x{wide - 2}"


def _resized(short: dict[str, str], before: Op, after: Op) -> str:
    (high, wide), (higher, wider) = before.window.kernel, after.window.kernel
    return f"{short[before.name]}: {high}x{wide} to {higher}x{wider}"


def _op(network: Network, name: str) -> Op:
    return next(op for op in network.ops if op.name == name)
