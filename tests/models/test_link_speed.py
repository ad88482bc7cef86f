"""Targets with faster and slower transfers."""

from __future__ import annotations

import pytest

from ooc_solve.models.cost import read_ns, write_ns
from ooc_solve.models.link_speed import at_speed
from ooc_solve.models.target import list_targets, load_target
from ooc_solve.models.vocabulary import Target


@pytest.mark.parametrize("target", list_targets(), ids=lambda target: target.name)
def test_a_greater_factor_never_makes_a_transfer_longer(target: Target) -> None:
    """Reads and writes of any size take no longer, and some less."""
    speeds = [at_speed(target, factor) for factor in (0.3, 0.31, 1, 1.7, 4)]
    for place, store in enumerate(target.stores):
        for size in (1, 700, 65_536):
            reads = [read_ns(there, there.stores[place], size) for there in speeds]
            assert reads == sorted(reads, reverse=True)
            if store.storage.write.bytes_per_s:
                writes = [write_ns(there, there.stores[place], size) for there in speeds]
                assert writes == sorted(writes, reverse=True)
        assert reads[0] > reads[-1]


def test_the_name_says_so() -> None:
    """A factor of one changes nothing, another one is part of the name, and none below zero is taken."""
    target = load_target("f746-sd")
    assert at_speed(target, 1.0) is target
    assert at_speed(target, 2.5).name == "f746-sd@2.5x"
    with pytest.raises(ValueError, match="above 0"):
        at_speed(target, 0)
