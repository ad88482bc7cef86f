"""Which part holds weights, spills and annex: by the stated rule, or by the target file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ooc_solve.models.roles import assigned
from ooc_solve.models.target import load_storage, load_target
from ooc_solve.models.vocabulary import InputError, Objective, Store, Target


def parts(target: Target) -> tuple[str, str | None, str | None]:
    """Parts with weights, activations and annex."""
    stores = (target.weights, target.activations, target.annex)
    weights, *others = (None if store is None else store.storage.name for store in stores)
    assert weights is not None
    return weights, others[0], others[1]


def behind(target: Target, *names: tuple[str, str]) -> Target:
    """The target with parts behind ports of its board."""
    ports = {port.name: port for port in target.board.ports}
    found = tuple(Store("part", ports[port], load_storage(part)) for port, part in names)
    return assigned(replace(target, parts=found), Objective.LATENCY)


def test_shipped_targets() -> None:
    """Weights are read where that is fastest, spills go where nothing is erased, the card holds weights too."""
    two, three = load_target("h747-qspi-sd"), load_target("rt1060-flash-sdram-sd")
    assert parts(two) == ("w25q128jv", "sd-class10-tlc-32g", "sd-class10-tlc-32g")
    assert two.annex is two.activations
    assert [store.channel for store in two.stores] == ["qspi", "sdmmc1"]
    assert parts(three) == ("w25q128jv", "sdram-8m", "sd-class10-tlc-32g")
    assert [store.channel for store in three.stores] == ["flexspi", "sdram", "usdhc1"]
    shared = load_target("esp32s3-flash-psram-sd")
    assert parts(shared) == ("w25q128jv", "aps6408l-ocx", "sd-class10-tlc-32g")
    assert len({store.channel for store in shared.stores}) == 2


def test_one_part_is_all_there_is() -> None:
    """A single card holds weights and spills over one channel, without an annex."""
    target = behind(load_target("h747-sd"), ("sdmmc1", "sd-class10-tlc-32g"))
    assert parts(target) == ("sd-class10-tlc-32g", "sd-class10-tlc-32g", None)
    assert len(target.stores) == 1


def test_nothing_is_spilled_to_what_must_be_erased() -> None:
    """With NOR alone activations have no place to go."""
    assert parts(behind(load_target("h747-qspi"), ("qspi", "w25q128jv"))) == ("w25q128jv", None, None)


def test_the_objective_decides_where_spills_go() -> None:
    """For latency the faster part takes them; for wear one that does not wear, however slow."""
    target = behind(load_target("rp2350-sd"), ("sdio-pio", "sd-class10-tlc-32g"), ("spi0", "mb85rs4mt"))
    slow = load_storage("mb85rs4mt")
    slow = replace(slow, write=replace(slow.write, bytes_per_s=100_000), endurance=None)
    card, fram = target.parts
    target = replace(target, parts=(card, replace(fram, storage=slow)))
    fast, sparing = (assigned(target, aim).activations for aim in (Objective.LATENCY, Objective.WEAR))
    assert fast is not None
    assert sparing is not None
    assert (fast.storage.name, sparing.storage.name) == ("sd-class10-tlc-32g", "mb85rs4mt")


def test_energy_counts_energy() -> None:
    """For energy the part that takes less of it is read, however slow it is."""
    target = load_target("h747-qspi-sd")
    nor, card = target.parts
    frugal = replace(card.storage, read_nj_per_byte=0.0, read_nj_per_request=0.0, write_nj_per_request=0.0)
    thirsty = replace(nor.storage, read_nj_per_byte=1000.0)
    target = replace(target, parts=(replace(nor, storage=thirsty), replace(card, storage=frugal)))
    assert parts(assigned(target, Objective.LATENCY))[0] == "w25q128jv"
    assert parts(assigned(target, Objective.ENERGY))[0] == "sd-class10-tlc-32g"


def test_an_annex_has_a_channel_of_its_own() -> None:
    """Parts that share a controller are no annex of each other."""
    target = load_target("rp2350-psram")
    two = behind(target, ("qmi0", "w25q128jv"), ("qmi1", "mx25r6435f"))
    assert two.annex is None
    assert parts(behind(target, ("qmi0", "w25q128jv"), ("sdio-pio", "sd-class10-tlc-32g")))[2] is not None


def test_roles_of_the_file_stay() -> None:
    """Where the file says what is for what, no objective changes it."""
    target = load_target("h747-qspi")
    assert all(assigned(target, objective) == target for objective in Objective)


HEAD = """schema = "ooc-profile/1"
kind = "target"
id = "mine"
title = "Mine"
board = "stm32h747i-disco"
runtime = "vendor_tuned"
"""
QSPI = '[{}]\nport = "qspi"\nstorage = "w25q128jv"\n'
SDRAM = '[{}]\nport = "sdram"\nstorage = "sdram-8m"\n'
CARD = '[{}]\nport = "sdmmc1"\nstorage = "sd-class10-tlc-32g"\n'

WRONG = {
    "nothing lasting": (SDRAM.format("[store]"), "'store' must list a part that keeps its content without power."),
    "both ways": (
        QSPI.format("[store]") + CARD.format("weights"),
        "'weights' is not a known key; choose from schema, kind, id, title, board, runtime, npu, storage, store.",
    ),
    "one port twice": (
        QSPI.format("[store]") * 2, "'store.port' must differ between tables (got 'qspi' twice).",
    ),
    "unknown port": (
        QSPI.format("[store]").replace("qspi", "spi9"),
        "'store.spi9.port' must be one that board 'stm32h747i-disco' has (got 'spi9'); the nearest is 'qspi'.",
    ),
    "volatile annex": (
        CARD.format("weights") + SDRAM.format("annex"),
        "'annex.storage' must keep its content without power (got 'sdram-8m').",
    ),
    "annex beside the weights": (
        QSPI.format("weights") + SDRAM.format("activations") + QSPI.format("annex").replace("w25q128jv", "mx25r6435f"),
        "'annex.port' must be a port whose channel no other store uses (got 'qspi').",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_files_are_refused(tmp_path: Path, name: str) -> None:
    """What cannot be is refused in one sentence that names file, key and value."""
    tables, message = WRONG[name]
    path = tmp_path / "mine.toml"
    path.write_text(HEAD + tables)
    with pytest.raises(InputError) as error:
        load_target(path)
    assert str(error.value) == f"{path}: {message}"


def test_files_may_name_an_annex(tmp_path: Path) -> None:
    """The three roles may be given one by one; an annex on the part of the activations is that store."""
    path = tmp_path / "mine.toml"
    path.write_text(HEAD + QSPI.format("weights") + SDRAM.format("activations") + CARD.format("annex"))
    assert parts(load_target(path)) == ("w25q128jv", "sdram-8m", "sd-class10-tlc-32g")
    path.write_text(HEAD + QSPI.format("weights") + CARD.format("activations") + CARD.format("annex"))
    shared = load_target(path)
    assert shared.annex is shared.activations
