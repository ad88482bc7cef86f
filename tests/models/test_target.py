"""Board, storage and target files: what is shipped, and what is said about files that are wrong."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ooc_solve.models import target as reader
from ooc_solve.models.target import (
    list_boards,
    list_storage,
    list_targets,
    load_board,
    load_storage,
    load_target,
)
from ooc_solve.models.vocabulary import InputError

MODELS = files("ooc_solve.models")
TARGETS = [
    "esp32s3-flash-psram-sd", "esp32s3-psram", "f746-qspi-sdram", "f746-sd", "h747-qspi", "h747-qspi-sd", "h747-sd", "l4r5-sdspi", "lm3s-qemu",
    "max78000-cnn", "n6-neural-art", "n6-npu", "nrf52840-nor", "rp2350-psram", "rp2350-sd", "rt1060-flash-sdram-sd", "rt1060-sd", "u585-octal",
]  # fmt: skip
EMULATED = [
    "an386-qemu", "an500-qemu", "an505-qemu", "an547-qemu", "lm3s-qemu", "microbit-qemu", "riscv-virt-qemu",
    "sf2-nor-qemu", "vldiscovery-qemu",
]  # fmt: skip


def _entries(folder: str) -> list[Any]:
    return sorted(MODELS.joinpath(folder).iterdir(), key=lambda entry: entry.name)


HARDWARE = [entry for folder in ("boards", "storage") for entry in _entries(folder)]


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """All ``(dotted name, value)`` pairs, array elements by their id or name."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner, f"{path}.{inner.get('id') or inner['name']}")
    else:
        yield path, value


def _numbers(data: dict[str, Any]) -> set[str]:
    return {
        name
        for name, value in _leaves(data)
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


# ------------------------------------------------------------------------- what ships


def test_all_built_in_targets_load() -> None:
    """The default systems exist, those in an emulator among them, and every one of them loads."""
    assert [target.name for target in list_targets()] == sorted({*TARGETS, *EMULATED})
    assert [target.name for target in list_targets() if target.board.emulator] == EMULATED


def test_all_boards_and_parts_load() -> None:
    """Nineteen boards and eighteen storage parts ship, including those no target uses."""
    assert len(list_boards()) == 19
    assert len(list_storage()) == 18


@pytest.mark.parametrize("folder", ["boards", "storage", "targets"])
def test_file_names_are_ids(folder: str) -> None:
    """A built-in file is found by the id it declares."""
    for entry in _entries(folder):
        assert tomllib.loads(entry.read_text())["id"] + ".toml" == entry.name


@pytest.mark.parametrize("entry", HARDWARE, ids=lambda entry: entry.name)
def test_every_number_says_where_it_comes_from(entry: Any) -> None:
    """Every numeric field of every shipped file has an entry in [provenance], and no entry is left over."""
    data = tomllib.loads(entry.read_text())
    provenance = data.pop("provenance")
    assert _numbers(data) == set(provenance)
    for text in provenance.values():
        assert re.fullmatch(r"M|[SDM]: \S.*", text), text


def test_board_values_arrive() -> None:
    """Numbers of the file reach the fields of the dataclasses, arrays and tables included."""
    board = load_board("stm32h747i-disco")
    assert (board.clock_hz, board.usable_bytes, board.flash_bytes) == (400_000_000, 786_432, 2_097_152)
    assert [bank.dma for bank in board.banks] == [True, True, False]
    assert [port.name for port in board.ports] == ["sdmmc1", "qspi", "sdram"]
    tuned = board.runtimes[0]
    assert (tuned.name, tuned.dw_cycles_per_mac, tuned.xip_cycles_per_weight_byte) == (
        "vendor_tuned",
        1.4,
        5.5,
    )
    assert (board.active_mw, board.io_wait_mw, board.dma_setup_cycles) == (250, 60, 3000)
    assert [engine.cycles_per_byte for engine in board.crypto] == [24, 27]


def test_npu_and_rate_given_crypto_arrive() -> None:
    """An NPU and a cipher given in bytes per second are data of the board."""
    board = load_board("stm32n6570-dk")
    assert (board.npus[0].name, board.npus[0].weight_bytes_per_s, board.npus[0].combine) == (
        "neural_art", 383_000_000, "sum",
    )  # fmt: skip
    assert (board.crypto[1].bytes_per_s, board.crypto[1].cycles_per_byte) == (30_000_000, None)
    assert board.flash_bytes is None


def test_storage_values_arrive() -> None:
    """Read, write, erase, endurance and energy of a part reach their fields."""
    nor = load_storage("mx25r6435f")
    assert (nor.write.page_bytes, nor.write.page_program_ns) == (256, 896_000)
    assert nor.erase is not None
    assert (nor.erase.block_bytes, nor.erase.max_ns) == (65_536, 3_840_000_000)
    assert nor.endurance is not None
    assert (nor.endurance.cycles, nor.endurance.unit) == (100_000, "block")
    assert (nor.read_nj_per_byte, nor.erase_nj_per_byte) == (1.5, 150.0)
    ram = load_storage("aps6404l")
    assert (ram.erase, ram.endurance, ram.erase_nj_per_byte) == (None, None, 0.0)
    assert (ram.read.max_burst_bytes, ram.write.max_burst_bytes) == (512, None)


def test_one_part_for_both_uses_is_one_store() -> None:
    """Weights and activations behind the same port and part are a single store."""
    target = load_target("f746-sd")
    assert target.weights is target.activations
    assert target.stores == (target.weights,)
    assert target.weights.role == "both"


def test_nor_only_target_has_no_place_for_activations() -> None:
    """A system with nothing but NOR flash must not spill activations."""
    assert load_target("nrf52840-nor").activations is None


def test_flash_and_psram_of_one_controller_share_a_channel() -> None:
    """Ports of one exclusive group are one resource; separate controllers are two."""
    for name, channels in (("rp2350-psram", 1), ("esp32s3-psram", 1), ("u585-octal", 2)):
        assert len({store.channel for store in load_target(name).stores}) == channels


def test_weights_of_built_in_targets_survive_power_off() -> None:
    """No shipped system keeps its weights in a volatile memory."""
    assert not any(target.weights.storage.volatile for target in list_targets())


def test_activations_of_built_in_targets_need_no_erase() -> None:
    """No shipped system but emulated ones spills activations into a memory that must be erased first."""
    for target in list_targets():
        if target.activations is not None and target.board.emulator is None:
            assert target.activations.storage.erase is None


def test_target_gathers_provenance() -> None:
    """A target says where the numbers of its board and of its parts come from."""
    provenance = load_target("f746-qspi-sdram").provenance
    assert provenance["board.port.qspi.clock_hz"].startswith("S: ")
    assert provenance["storage.w25q128jv.write.page_program_ns"].startswith("D: ")
    assert provenance["storage.sdram-8m.read.setup_ns"] == "M"


# ------------------------------------------------------------------------ user's files

TARGET = """\
schema = "ooc-profile/1"
kind = "target"
id = "mine"
title = "My board"
board = "stm32f746g-disco"
runtime = "cmsis_nn"
[weights]
port = "qspi"
storage = "w25q128jv"
[activations]
port = "sdmmc1"
storage = "sd-class10-tlc-32g"
"""

# One file that refers to nothing outside itself.
WHOLE = """\
schema = "ooc-profile/1"
kind = "target"
id = "mine"
title = "Everything in one file"
runtime = "plain"
[board]
id = "my-board"
title = "A board of mine"
[board.cpu]
core = "cortex-m4"
cores = 1
clock_hz = 100_000_000
[board.sram]
usable_bytes = 65_536
bank = [{ name = "RAM", size_bytes = 131_072, dma = true }]
[board.dma]
channels = 8
overlaps_cpu = true
setup_cycles = 1_000
cpu_stall_cycles_per_byte = 0.25
[[board.port]]
id = "spi1"
bus = "spi"
clock_hz = 40_000_000
peak_bytes_per_s = 5_000_000
read_efficiency = 0.9
write_efficiency = 0.9
setup_ns = 5_000
cpu_cycles_per_byte = 0
[board.runtime.plain]
conv_cycles_per_mac = 6
dw_cycles_per_mac = 14
fc_cycles_per_mac = 8
cycles_per_output = 120
cycles_per_call = 3_000
[board.power]
active_mw = 40
io_wait_mw = 12
sleep_mw = 0.1
[board.provenance]
"power.active_mw" = "S: my own bench"
[weights]
port = "spi1"
storage = "my-nand"
[activations]
port = "spi1"
storage = "my-fram"
[storage.my-nand]
kind = "nand"
capacity_bytes = 134_217_728
volatile = false
read = { bytes_per_s = 20_000_000, setup_ns = 60_000, granularity_bytes = 2_048, max_burst_bytes = 2_048 }
[storage.my-nand.write]
bytes_per_s = 20_000_000
setup_ns = 5_000
granularity_bytes = 2_048
page_bytes = 2_048
page_program_ns = 250_000
[storage.my-nand.erase]
required = true
block_bytes = 131_072
typ_ns = 2_000_000
max_ns = 10_000_000
[storage.my-nand.endurance]
cycles = 100_000
unit = "block"
write_amplification = 1.1
[storage.my-nand.energy]
read_nj_per_byte = 3
write_nj_per_byte = 10
erase_nj_per_byte = 1.3
idle_mw = 0.05
sleep_mw = 0.05
[storage.my-fram]
kind = "fram"
capacity_bytes = 524_288
volatile = false
read = { bytes_per_s = 5_000_000, setup_ns = 1_000, granularity_bytes = 1 }
write = { bytes_per_s = 5_000_000, setup_ns = 1_200, granularity_bytes = 1 }
energy = { read_nj_per_byte = 1.7, write_nj_per_byte = 1.7, idle_mw = 0.1, sleep_mw = 0.02 }
"""


def _write(folder: Path, text: str, name: str = "mine.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_user_file_refers_to_built_in_ids(tmp_path: Path) -> None:
    """A target file of the user may join a built-in board and built-in parts."""
    target = load_target(str(_write(tmp_path, TARGET)))
    assert (target.name, target.runtime.name) == ("mine", "cmsis_nn")
    assert target.weights == load_target("f746-qspi-sdram").weights
    assert target.activations is not None
    assert target.activations.port.name == "sdmmc1"


def test_user_file_holds_everything(tmp_path: Path) -> None:
    """Board and parts may be tables of the target file; nothing else is then needed."""
    target = load_target(_write(tmp_path, WHOLE))
    assert (target.board.name, target.board.clock_hz, target.runtime.fc_cycles_per_mac) == (
        "my-board", 100_000_000, 8,
    )  # fmt: skip
    assert [store.storage.name for store in target.stores] == ["my-nand", "my-fram"]
    assert target.provenance == {"board.power.active_mw": "S: my own bench"}


def test_user_file_refers_to_files_beside_it(tmp_path: Path) -> None:
    """Paths of board and storage files start at the folder of the target file, not at the working directory."""
    (tmp_path / "parts").mkdir()
    board = MODELS.joinpath("boards", "stm32f746g-disco.toml").read_text()
    _write(
        tmp_path,
        board.replace("216_000_000 ", "216_000_000").replace("clock_hz = 216", "clock_hz = 180"),
        "b.toml",
    )
    part = MODELS.joinpath("storage", "w25q128jv.toml").read_text()
    _write(tmp_path / "parts", part.replace('id = "w25q128jv"', 'id = "my-nor"'), "nor.toml")
    text = TARGET.replace('"stm32f746g-disco"', '"b.toml"').replace('"w25q128jv"', '"parts/nor.toml"')
    target = load_target(_write(tmp_path, text))
    assert (target.board.clock_hz, target.weights.storage.name) == (180_000_000, "my-nor")


WRONG_TARGETS = {
    "unknown key": ('title = "My board"', 'titel = "My board"', "'titel' is not a known key; the nearest is 'title'."),
    "unknown key nowhere near": (
        'title = "My board"',
        'title = "My board"\nzzz = 1',
        "'zzz' is not a known key; choose from schema, kind, id, title, board, runtime, npu, weights, activations, annex, storage.",
    ),
    "missing key": ('id = "mine"\n', "", "'id' is missing; it must be a name of letters, digits and . _ + -."),
    "missing table": (
        '[weights]\nport = "qspi"\nstorage = "w25q128jv"\n', "", "'weights' is missing; it must be a table.",
    ),
    "wrong schema": ("ooc-profile/1", "ooc-profile/9", "'schema' must be 'ooc-profile/1' (got 'ooc-profile/9')."),
    "wrong kind": ('kind = "target"', 'kind = "board"', "'kind' must be 'target' (got 'board')."),
    "two-line title": ('"My board"', '"My\\nboard"', "'title' must be one line of text (got 'My\\nboard')."),
    "bad id": ('id = "mine"', 'id = "../mine"', "'id' must be a name of letters, digits and . _ + - (got '../mine')."),
    "unknown board": (
        "stm32f746g-disco", "stm32f746-disco",
        "'board' must be a built-in board or a .toml file (got 'stm32f746-disco'); the nearest is 'stm32f746g-disco'.",
    ),
    "board is a number": (
        '"stm32f746g-disco"', "746", "'board' must be a built-in id or the path of a .toml file (got 746).",
    ),
    "unknown runtime": (
        "cmsis_nn", "cmsisnn",
        "'runtime' must be one that board 'stm32f746g-disco' has (got 'cmsisnn'); the nearest is 'cmsis_nn'.",
    ),
    "unknown port": (
        '"qspi"', '"qspi2"',
        "'weights.port' must be one that board 'stm32f746g-disco' has (got 'qspi2'); the nearest is 'qspi'.",
    ),
    "unknown storage": (
        '"w25q128jv"', '"w25q128"',
        "'weights.storage' must be a built-in storage part or a .toml file (got 'w25q128'); the nearest is 'w25q128jv'.",
    ),
    "part that does not fit the bus": (
        '"sdmmc1"', '"sdram"',
        "'activations.storage' must be a part that a sdram port can carry (got 'sd-class10-tlc-32g', kind sd).",
    ),
    "weights is no table": (
        '[weights]\nport = "qspi"\nstorage = "w25q128jv"', "weights = 1", "'weights' must be a table (got 1).",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "message"), WRONG_TARGETS.values(), ids=WRONG_TARGETS)
def test_wrong_target_file(tmp_path: Path, old: str, new: str, message: str) -> None:
    """A target file that cannot be meant is refused in one line that names file and key."""
    _refused(tmp_path, TARGET, old, new, message)


WRONG_NUMBERS = {
    "no unit": (
        "clock_hz = 100_000_000", "clock = 100",
        "'board.cpu.clock' is not a known key; write 'clock_hz', with its unit.",
    ),
    "missing": (
        "clock_hz = 100_000_000\n", "",
        "'board.cpu.clock_hz' is missing; it must be an integer from 1 to 2**53.",
    ),
    "text": (
        "clock_hz = 100_000_000", 'clock_hz = "fast"',
        "'board.cpu.clock_hz' must be an integer from 1 to 2**53 (got 'fast').",
    ),
    "float": (
        "clock_hz = 100_000_000", "clock_hz = 1e8",
        "'board.cpu.clock_hz' must be an integer from 1 to 2**53 (got 100000000.0).",
    ),
    "bool": (
        "clock_hz = 100_000_000", "clock_hz = true",
        "'board.cpu.clock_hz' must be an integer from 1 to 2**53 (got true).",
    ),
    "zero": (
        "clock_hz = 100_000_000", "clock_hz = 0",
        "'board.cpu.clock_hz' must be an integer from 1 to 2**53 (got 0).",
    ),
    "negative": (
        "setup_ns = 5_000", "setup_ns = -1", "'board.port.spi1.setup_ns' must be an integer from 0 to 2**53 (got -1).",
    ),
    "absurdly large": (
        "clock_hz = 100_000_000", f"clock_hz = 0x{'f' * 5000}",
        "'board.cpu.clock_hz' must be an integer from 1 to 2**53 (got an integer of 20000 bits).",
    ),
    "absurdly large in an array": (
        "clock_hz = 100_000_000", f"clock_hz = [0x{'f' * 5000}]",
        "'board.cpu.clock_hz' must be an integer from 1 to 2**53 (got an array).",
    ),
    "just too large": (
        "clock_hz = 100_000_000", "clock_hz = 9007199254740993",
        "'board.cpu.clock_hz' must be an integer from 1 to 2**53 (got 9007199254740993).",
    ),
    "nan": ("active_mw = 40", "active_mw = nan", "'board.power.active_mw' must be a number above 0 and up to 2**53 (got nan)."),
    "infinite": (
        "setup_cycles = 1_000", "setup_cycles = inf", "'board.dma.setup_cycles' must be a number from 0 to 2**53 (got inf).",
    ),
    "efficiency above one": (
        "read_efficiency = 0.9", "read_efficiency = 90",
        "'board.port.spi1.read_efficiency' must be a number above 0 and at most 1 (got 90).",
    ),
    "efficiency zero": (
        "read_efficiency = 0.9", "read_efficiency = 0.0",
        "'board.port.spi1.read_efficiency' must be a number above 0 and at most 1 (got 0.0).",
    ),
    "flag as number": (
        "overlaps_cpu = true", "overlaps_cpu = 1", "'board.dma.overlaps_cpu' must be true or false (got 1).",
    ),
    "more than the banks": (
        "usable_bytes = 65_536", "usable_bytes = 131_073",
        "'board.sram.usable_bytes' must be at most the sum of the banks, 131072 (got 131073).",
    ),
    "no banks": (
        'bank = [{ name = "RAM", size_bytes = 131_072, dma = true }]', "bank = []",
        "'board.sram.bank' must be one or more tables (got an array).",
    ),
    "bank twice": (
        "dma = true }]", 'dma = true }, { name = "RAM", size_bytes = 1, dma = true }]',
        "'board.sram.bank.name' must differ between tables (got 'RAM' twice).",
    ),
    "bank without name": (
        'name = "RAM", ', "",
        "'board.sram.bank[1].name' is missing; it must be a name of letters, digits and . _ + -.",
    ),
    "overlap without channels": (
        "channels = 8", "channels = 0", "'board.dma.overlaps_cpu' must be false where 'dma.channels' is 0.",
    ),
    "waiting costs more than computing": (
        "io_wait_mw = 12", "io_wait_mw = 41",
        "'board.power.io_wait_mw' must be at most active_mw, 40 (got 41).",
    ),
    "unknown bus": (
        'bus = "spi"', 'bus = "i2c"',
        "'board.port.spi1.bus' must be one of sd-spi, spi, sd-4bit, emmc-8bit, qspi, ospi-dtr, hyperbus, sdram (got 'i2c').",
    ),
    "unknown storage kind": (
        'kind = "fram"', 'kind = "tape"',
        "'storage.my-fram.kind' must be one of sd, emmc, nor, nand, psram, fram, mram, sdram (got 'tape').",
    ),
    "page time without page": (
        "page_bytes = 2_048\n", "",
        "'storage.my-nand.write' must have page_bytes and page_program_ns together or neither.",
    ),
    "page across granules": (
        "page_bytes = 2_048\n", "page_bytes = 2_049\n",
        "'storage.my-nand.write.page_bytes' must be a multiple of granularity_bytes.",
    ),
    "burst below granule": (
        "max_burst_bytes = 2_048", "max_burst_bytes = 1_024",
        "'storage.my-nand.read.max_burst_bytes' must be at least granularity_bytes.",
    ),
    "block across pages": (
        "block_bytes = 131_072", "block_bytes = 131_073",
        "'storage.my-nand.erase.block_bytes' must be a multiple of what is written at once, 2048 (got 131073).",
    ),
    "capacity across blocks": (
        "capacity_bytes = 134_217_728", "capacity_bytes = 134_217_729",
        "'storage.my-nand.capacity_bytes' must be a multiple of erase.block_bytes (got 134217729).",
    ),
    "largest erase below typical": (
        "max_ns = 10_000_000", "max_ns = 1", "'storage.my-nand.erase.max_ns' must be at least typ_ns.",
    ),
    "erase without energy": (
        "erase_nj_per_byte = 1.3\n", "",
        "'storage.my-nand.energy.erase_nj_per_byte' is missing; it belongs to parts that need erasing.",
    ),
    "provenance of nothing": (
        '"power.active_mw" = "S: my own bench"', '"power.activ_mw" = "M"',
        "'board.provenance.power.activ_mw' names no number of this file; the nearest is 'power.active_mw'.",
    ),
    "provenance without mark": (
        '"S: my own bench"', '"somewhere"',
        "'board.provenance.power.active_mw' must be 'S: ...', 'D: ...' or 'M' (got 'somewhere').",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "message"), WRONG_NUMBERS.values(), ids=WRONG_NUMBERS)
def test_wrong_board_or_part(tmp_path: Path, old: str, new: str, message: str) -> None:
    """A quantity that cannot be, or lacks its unit, is refused in one line that names file and key."""
    _refused(tmp_path, WHOLE, old, new, message)


def test_port_twice(tmp_path: Path) -> None:
    """Two ports of one name cannot be told apart and are refused."""
    port = WHOLE[WHOLE.index("[[board.port]]") : WHOLE.index("[board.runtime.plain]")]
    message = "'board.port.id' must differ between tables (got 'spi1' twice)."
    _refused(tmp_path, WHOLE, port, port + port, message)


@pytest.mark.parametrize("both", [True, False])
def test_cipher_with_two_speeds_or_none(tmp_path: Path, both: bool) -> None:
    """A cipher is given in cycles per byte or in bytes per second, not both and not neither."""
    speeds = "cycles_per_byte = 20\nbytes_per_s = 5\n" if both else ""
    cipher = f'[board.crypto.aes]\nengine = "hw"\n{speeds}setup_ns = 1\ncpu_busy = true\ndirections = "rw"\n'
    message = "'board.crypto.aes' must have exactly one of cycles_per_byte and bytes_per_s."
    _refused(tmp_path, WHOLE, "[weights]", cipher + "[weights]", message)


def test_software_beside_the_cpu(tmp_path: Path) -> None:
    """Software runs on the CPU, so the CPU is busy with it."""
    cipher = '[board.crypto.aes]\nengine = "sw"\ncycles_per_byte = 9\nsetup_ns = 1\ncpu_busy = false\n'
    message = "'board.crypto.aes.cpu_busy' must be true for software, which the CPU runs."
    _refused(tmp_path, WHOLE, "[weights]", cipher + 'directions = "rw"\n[weights]', message)


def _refused(folder: Path, text: str, old: str, new: str, message: str) -> None:
    assert text.count(old) >= 1, "the test must change the file"
    path = _write(folder, text.replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        load_target(path)
    assert str(caught.value) == f"{path}: {message}"


def test_invalid_toml_names_the_line(tmp_path: Path) -> None:
    """Broken TOML is reported with its line."""
    path = _write(tmp_path, TARGET.replace('title = "My board"', "title = "))
    with pytest.raises(InputError, match=r"mine\.toml: the file must be valid TOML \(.*line 4, column"):
        load_target(path)


def test_duplicate_key_names_the_line(tmp_path: Path) -> None:
    """A key given twice is reported with its line."""
    path = _write(tmp_path, TARGET.replace('id = "mine"', 'id = "mine"\nid = "mine"'))
    with pytest.raises(InputError, match=r"must be valid TOML \(.*line 4, column"):
        load_target(path)


def test_binary_file(tmp_path: Path) -> None:
    """A file that is no text is reported with the byte that shows it."""
    path = tmp_path / "mine.toml"
    path.write_bytes(b"id = \xff\xfe")
    with pytest.raises(InputError, match=r"mine\.toml: the file must be UTF-8 text \(byte 5 is not\)\.$"):
        load_target(path)


def test_deeply_nested_file(tmp_path: Path) -> None:
    """Nesting beyond what the reader can follow is an input error as any other."""
    with pytest.raises(InputError, match="nested less deeply"):
        load_target(_write(tmp_path, f"a = {'[' * 100_000}"))


def test_unreadable_paths(tmp_path: Path) -> None:
    """A missing file and a folder are input errors that name the path."""
    with pytest.raises(
        InputError, match=r"none\.toml: the file cannot be read \(No such file or directory\)\.$"
    ):
        load_target(tmp_path / "none.toml")
    with pytest.raises(InputError, match=r"the file cannot be read \(Is a directory\)\.$"):
        load_target(tmp_path)


def test_missing_file_beside_the_target(tmp_path: Path) -> None:
    """A board file that a target refers to and that is not there is named."""
    path = _write(tmp_path, TARGET.replace('"stm32f746g-disco"', '"away.toml"'))
    with pytest.raises(InputError, match=r"away\.toml: the file cannot be read"):
        load_target(path)


@pytest.mark.parametrize(
    ("load", "name", "message"),
    [
        (load_target, "f746", "There is no built-in target 'f746'; the nearest is 'f746-sd'."),
        (load_board, "imxrt1061", "There is no built-in board 'imxrt1061'; the nearest is 'imxrt1060'."),
        (load_storage, "aps6404", "There is no built-in storage part 'aps6404'; the nearest is 'aps6404l'."),
    ],
)
def test_unknown_id_suggests_the_nearest(load: Any, name: str, message: str) -> None:
    """A mistyped id is answered with the nearest one there is."""
    with pytest.raises(InputError) as caught:
        load(name)
    assert str(caught.value) == message


def test_built_in_name_is_no_way_out_of_the_package() -> None:
    """An id that looks like a path is taken as a path of the user, never joined to the package's folder."""
    with pytest.raises(InputError, match="cannot be read"):
        load_target("../targets/f746-sd")


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["spi1", "my-nand", "plain", "RAM"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)


def _paths(value: Any) -> Iterator[tuple[Any, ...]]:
    """Where in a file something can be replaced: keys and indices from the root."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield (key,)
        if isinstance(inner, dict | list):
            yield from ((key, *rest) for rest in _paths(inner))


@given(path=st.sampled_from(list(_paths(tomllib.loads(WHOLE)))), value=VALUES)
def test_any_value_anywhere_is_read_or_refused(path: tuple[Any, ...], value: Any) -> None:
    """Whatever stands in a file, the answer is a target or an input error of one line, never a crash."""
    data = place = tomllib.loads(WHOLE)
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    complaint = ""
    try:
        assert reader._target(reader._Source("mine.toml", data)).runtime.name == "plain"
    except InputError as error:
        complaint = str(error)
    assert complaint == "" or complaint.startswith("mine.toml: '")
    assert "\n" not in complaint
