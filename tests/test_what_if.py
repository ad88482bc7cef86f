"""Changes to a problem: each is what its words say, and nothing else changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ooc_solve.api import load, problem_of, target
from ooc_solve.models.onnx_reader import read_onnx
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.vocabulary import DType, Plan, Selection
from ooc_solve.solver.fused import spans
from ooc_solve.what_if import what_ifs


def changes(problem: Problem, plan: Plan | None = None) -> dict[str, Problem]:
    """The changed problems by their words."""
    found = what_ifs(problem, plan)
    assert len({change.change for change in found}) == len(found)
    return {change.change: change.problem for change in found}


def test_sram_by_powers_and_halves(tiny_problem: Problem) -> None:
    """The next powers of two, twice and half as much, and all of the board's, are tried."""
    sizes = {p.sram_bytes for words, p in changes(tiny_problem).items() if "of SRAM" in words}
    assert sizes == {16384, 20480, 65536, 8192, 5120}


def test_more_than_the_board_has_is_another_board(tiny_problem: Problem) -> None:
    """Beyond the board's SRAM its largest bank grows, and the words say that it is another board."""
    full = replace(tiny_problem, sram_bytes=tiny_problem.target.board.usable_bytes)
    changed = changes(full)["128 KiB of SRAM (a larger board)"]
    assert changed.target.board.usable_bytes == changed.sram_bytes == 131072
    assert sum(bank.size_bytes for bank in changed.target.board.banks) == 131072
    assert "64 KiB of SRAM" not in changes(full)


def test_a_port_at_twice_its_clock(tiny_problem: Problem) -> None:
    """The link carries twice the bytes, the part behind it is the same."""
    changed = changes(tiny_problem)["port sdio at twice its clock"]
    old = tiny_problem.target.weights
    assert changed.target.weights.port.peak_bytes_per_s == 2 * old.port.peak_bytes_per_s
    assert changed.target.weights.storage == old.storage
    assert len(changed.target.stores) == 1


def test_parts_that_the_port_takes(tiny_problem: Problem) -> None:
    """Every other card is tried at the card's port; nothing else goes there."""
    parts = {
        p.target.weights.storage for words, p in changes(tiny_problem).items() if " for tiny-card" in words
    }
    assert {part.kind for part in parts} == {"sd"}
    assert len(parts) == 3


def test_flash_is_not_offered_for_activations_nor_psram_for_weights() -> None:
    """A part without its contents after power-on holds no weights, one that must be erased no activations."""
    board = target("esp32s3-psram")
    found = changes(problem_of(load("zoo:ds_cnn"), board, 32768)).values()
    assert all(not p.target.weights.storage.volatile for p in found)
    for changed in found:
        assert changed.target.activations is not None
        erase = changed.target.activations.storage.erase
        assert erase is None or not erase.required


def test_parts_of_emulators_are_not_offered_for_boards() -> None:
    """The memory that an emulated machine paces is no part to buy."""
    words = changes(problem_of(load("zoo:ds_cnn"), target("h747-qspi"), 32768))
    assert any(word.startswith("mx25r6435f for") for word in words)
    assert not any(word.startswith("paced-8m") for word in words)


def test_input_and_output_elsewhere(tiny_problem: Problem) -> None:
    """What lives in storage is tried in SRAM; without storage that takes writes there is no other place."""
    assert changes(tiny_problem)["input and output in sram"].io is IoPlace.SRAM
    fixed = problem_of(load("zoo:ds_cnn"), target("nrf52840-nor"), 65536)
    assert not [words for words in changes(fixed) if words.startswith("input and output")]


def test_kernels_that_do_not_fit_are_made_smaller(
    tiny_problem: Problem, tiny_selection: Selection, planned: Callable[[Problem, Selection, bool], Plan]
) -> None:
    """One by one and together, on networks of their own, and with a larger one behind them; tensors stay."""
    plan = planned(tiny_problem, tiny_selection, False)
    found = changes(replace(tiny_problem, sram_bytes=2048), plan)
    words = [words for words in found if words.endswith("trained again")]
    assert words == [
        "smaller kernels in conv, depthwise; point: 1x1 to 5x5 to see as far, trained again",
        "conv: 3x3 to 1x1, trained again",
        "depthwise: 3x3 to 1x1, trained again",
        "smaller kernels in conv, depthwise, trained again",
    ]
    for word in words:
        assert found[word].network.tensors == tiny_problem.network.tensors
        assert found[word].network.digest != tiny_problem.network.digest


def test_only_float_networks_are_quantised(shared_models: Path) -> None:
    """A float32 network is tried in int8, a quantised one is not."""
    words, board = "quantised to int8 (--quantize)", target("f746-sd")
    floating = read_onnx(shared_models / "mlperf_tiny" / "ic_resnet8_float.onnx")
    found = changes(problem_of(floating, board, 96 * 1024))
    assert next(iter(found)) == words
    assert {t.dtype for t in found[words].network.tensors.values()} == {DType.INT8, DType.FLOAT32}
    assert words not in changes(problem_of(load("zoo:resnet8"), board, 32768))


@pytest.mark.parametrize("depth", [1, 3, 9, 16])
def test_patch_depth_bounds_what_is_offered(depth: int) -> None:
    """Operators are offered as fused stages of up to so many, and with depth 1 none are."""
    found = [len(span) for span in spans(load("zoo:mobilenet_v1_025_96"), 8192, depth)]
    assert max(found, default=1) == depth
