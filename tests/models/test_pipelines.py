"""Where a network may be cut for runs that overlap, and the network that such a run is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ooc_solve.models import reference
from ooc_solve.models.frames import in_flight
from ooc_solve.models.pipelines import carried_input, cuts, front_size, pipelined
from ooc_solve.models.zoo import zoo_network


def test_cuts_carry_all_that_leads_from_front_to_back() -> None:
    """Of a residual network only tensors that no shortcut passes are cuts, and each carries that tensor alone."""
    network = zoo_network("resnet8")
    found = [cut.carried for cut in cuts(network, network)]
    assert ("add_4",) in found
    assert all("conv_2" not in names and "conv_3" not in names for names in found), "a shortcut passes them"
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_a_cut_of_several_frames_has_all_frames_in_front(frames: int) -> None:
    """The front reads the inputs of every frame, the back makes the outputs of every frame."""
    base = zoo_network("resnet8")
    run = in_flight(base, frames)
    for cut in cuts(run, base):
        network = pipelined(run, cut)
        front, back = network.ops[: front_size(network)], network.ops[front_size(network) :]
        read = {name for op in front for name in op.inputs}
        assert set(run.inputs) <= read
        assert {op.output for op in back} >= set(run.outputs)
        assert read.isdisjoint(carried_input(name) for name in cut.carried)
        assert {name for op in back for name in op.inputs}.isdisjoint(op.output for op in front)


def test_two_runs_make_the_outputs_of_one() -> None:
    """What the front of a run leaves gives the back of the next run the outputs of the network."""
    network = zoo_network("autoencoder")
    frame = np.random.default_rng(3).integers(-128, 128, (1, 640), dtype=np.int8)
    expected = reference.run(network, {"input": frame})[network.outputs[0]]
    for cut in cuts(network, network):
        run = pipelined(network, cut)
        left = {other: np.zeros(run.tensors[other].elements, np.int8) for _, other in run.carried}
        for _ in range(2):
            shaped = {name: value.reshape(run.tensors[name].graph_shape) for name, value in left.items()}
            made = reference.run(run, {"input": frame, **shaped})
            left = {other: made[name].reshape(-1) for name, other in run.carried}
        assert np.array_equal(made[network.outputs[0]], expected)


def test_what_is_carried_comes_last() -> None:
    """A network whose carried tensors are not its last inputs and outputs is refused."""
    network = zoo_network("autoencoder")
    run = pipelined(network, cuts(network, network)[0])
    with pytest.raises(ValueError, match="carried over"):
        replace(run, inputs=run.inputs[::-1])
