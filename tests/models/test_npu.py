"""What an NPU may compute, how long that takes, and how weights come to it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ooc_solve.models.cost import NPU, KernelWork, compute_ns
from ooc_solve.models.npu import held_bytes, is_crowded, offered, ways, whole_tiling
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.sealing import encrypted
from ooc_solve.models.target import load_target
from ooc_solve.models.tiling import StageGeometry
from ooc_solve.models.vocabulary import InputError, Network, Npu, Op, OpKind, Target, Tiling
from ooc_solve.models.zoo import zoo_network


def with_npu(target: Target, **changes: object) -> Target:
    """The target with another NPU."""
    assert target.npu is not None
    return replace(target, npu=replace(target.npu, **changes))  # type: ignore[arg-type]


def test_times_are_sums_or_the_largest_term() -> None:
    """Fixed time plus weights, outputs and MACs over their rates: all of them, or the longest."""
    work = KernelWork(NPU, outputs=4_000, macs=90_000, weight_bytes=6_000)
    unit = Npu("unit", 100, "sum", 2_000_000_000, 1_000_000_000, 9_000_000_000)
    target = replace(load_target("n6-neural-art"), npu=unit)
    assert compute_ns(target, work) == 100 + 3_000 + 4_000 + 10_000
    assert compute_ns(with_npu(target, combine="max"), work) == 100 + 10_000
    assert compute_ns(with_npu(target, macs_per_s=None), work) == 100 + 3_000 + 4_000
    assert compute_ns(with_npu(target, weight_mem_bytes=6_000), work) == 100 + 4_000 + 10_000


def test_shipped_units() -> None:
    """One reads its weights from flash, the other has a memory of 432 KiB for them."""
    streaming, holding = load_target("n6-neural-art").npu, load_target("max78000-cnn").npu
    assert streaming is not None
    assert holding is not None
    assert (streaming.weight_mem_bytes, streaming.weight_bytes_per_s) == (None, 383_000_000)
    assert (holding.weight_mem_bytes, holding.data_mem_bytes) == (442_368, 524_288)
    assert load_target("n6-npu").npu is None


def test_work_counts_every_tap() -> None:
    """The work of an operator has all its outputs, MACs and weights; nothing of it is loaded."""
    network, target = zoo_network("resnet8"), load_target("max78000-cnn")
    for op in network.ops:
        if ways(target, network, op):
            geometry = StageGeometry.of(network, op, whole_tiling(network, op))
            work = geometry.tile_work((0, 0, 0, 0))
            out = network.tensors[op.output]
            assert (work.kind, work.outputs, work.weight_bytes) == (NPU, out.elements, op.weight_bytes)
            if op.kind in (OpKind.CONV, OpKind.DEPTHWISE):
                assert work.macs == network.macs(op)
            assert geometry.weight_bytes((0, 0, 0, 0)) == 0
            assert not geometry.loads_weights


def test_weights_are_loaded_only_where_not_all_can_be_resident() -> None:
    """With memory for all of them each operator has one way; with little, also those that load its weights in parts."""
    network, target = zoo_network("resnet8"), load_target("max78000-cnn")
    able = {op.name for op in network.ops if ways(target, network, op)}
    assert offered(target, network) == able
    assert {op.kind for op in network.ops if op.name not in able} == {OpKind.SOFTMAX}
    assert not is_crowded(target, network)
    assert all(len(ways(target, network, op)) <= 1 for op in network.ops)
    wanted = sum(op.weight_bytes for op in network.ops if op.name in able)
    assert not is_crowded(with_npu(target, weight_mem_bytes=wanted), network)
    for most in (0, 1_000, 10_000, 40_000, wanted - 1):
        small = with_npu(target, weight_mem_bytes=most)
        assert is_crowded(small, network)
        for op in network.ops:
            offers = ways(small, network, op)
            loading = [tiling for tiling in offers if tiling.npu_loads]
            assert (whole_tiling(network, op) in offers) == (op.name in able and op.weight_bytes <= most)
            assert all(_tile_bytes(network, op, tiling) <= most for tiling in loading)
            assert [tiling.channels for tiling in loading] == sorted({t.channels for t in loading})[::-1]
            assert bool(loading) == (op.name in able and op.weight_bytes > 0 and _least(network, op) <= most)


def _tile_bytes(network: Network, op: Op, tiling: Tiling) -> int:
    """Weights of the first tile."""
    return StageGeometry.of(network, op, tiling).weight_bytes((0, 0, 0, 0))


def _least(network: Network, op: Op) -> int:
    """Weights of a single output channel."""
    return _tile_bytes(network, op, replace(whole_tiling(network, op), channels=1, npu_loads=True))


def test_tensors_must_fit_the_data_memory() -> None:
    """Operators whose tensors are larger are left to the CPU."""
    network, target = zoo_network("resnet8"), load_target("max78000-cnn")
    first = network.ops[0]
    size = sum(network.tensors[name].size_bytes for name in (*first.inputs, first.output))
    assert ways(with_npu(target, data_mem_bytes=size), network, first)
    assert not ways(with_npu(target, data_mem_bytes=size - 1), network, first)


def test_sealed_targets_have_no_npu() -> None:
    """No NPU opens sealed records, so with a cipher the CPU computes everything."""
    assert encrypted(load_target("n6-neural-art"), "aes-128-gcm").npu is None


def test_names_are_those_of_the_board(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A target file can only name an NPU that its board has."""
    text = """schema = "ooc-profile/1"
kind = "target"
id = "mine"
title = "Mine"
board = "stm32n6570-dk"
runtime = "cmsis_nn"
npu = "neural_arts"

[weights]
port = "xspi2"
storage = "mx66uw1g45g"
"""
    path = tmp_path_factory.mktemp("npu") / "mine.toml"
    path.write_text(text)
    with pytest.raises(
        InputError, match=r"'npu' must be one that board 'stm32n6570-dk' has \(got 'neural_arts'\)"
    ):
        load_target(path)


def test_held_bytes_count_what_is_resident() -> None:
    """Weights of operators on the CPU take nothing of the NPU's memory for the whole run, nor do those that are loaded."""
    network = zoo_network("resnet8")
    tilings = tuple(replace(whole_tiling(network, op), npu=k % 2 == 0) for k, op in enumerate(network.ops))
    resident = sum(op.weight_bytes for op in network.ops[::2])
    assert held_bytes(network, tilings) == resident
    loading = (replace(tilings[0], npu_loads=True), *tilings[1:])
    assert held_bytes(network, loading) == resident - network.ops[0].weight_bytes
    assert Problem(network, load_target("max78000-cnn"), 1 << 18, IoPlace.SRAM).target.npu is not None
