"""Boards, storage parts and targets, read from TOML.

Every file starts with ``schema = "ooc-profile/1"``; every quantity carries its unit in its name.

Board file, ``kind = "board"``: ``id``, ``title``, ``[cpu]``, ``[sram]`` with ``bank``, ``[flash]``,
``[dma]``, ``[[port]]``, ``[runtime.NAME]``, ``[power]``, ``[crypto.NAME]``, ``[npu.NAME]``; with
``emulator`` the name of the emulated machine that emitted projects run on.
``[runtime.NAME.kernel.KIND]`` holds the finer figures that ``ooc-calibrate`` fits (`cost.KernelWork`).
Kinds that begin with ``float_`` are the kernels of float32, which have no coarse figures: without them the board refuses
float32 networks.
Storage file, ``kind = "nor"`` and the like: ``id``, ``capacity_bytes``, ``volatile``, ``[read]``, ``[write]``,
``[erase]``, ``[endurance]``, ``[energy]``.
Target file, ``kind = "target"``, joins them::

    schema = "ooc-profile/1"
    kind = "target"
    id = "my-system"
    title = "My board with a FRAM"
    board = "stm32f746g-disco"      # a built-in id
    runtime = "vendor_tuned"        # a [runtime.NAME] of the board

    npu = "neural_art"              # optional: a [npu.NAME] of the board, which then computes what is faster there

    [weights]
    port = "sdmmc1"                 # a [[port]] of the board
    storage = "sd-class10-tlc-32g"  # a built-in id

    [activations]                   # leave out where activations must never be spilled
    port = "sdmmc1"
    storage = "sd-class10-tlc-32g"

    [annex]                         # optional: a second place for weights, that of the activations or a third
    port = "qspi"                   # on a channel of its own; of each operator the plan says where its weights lie
    storage = "w25q128jv"

Instead of these three tables a target may list its parts, each behind a port of its own; then
`models.roles` says which is for what, by the objective::

    [[store]]
    port = "sdmmc1"
    storage = "sd-class10-tlc-32g"

``board`` and ``storage`` may also name a file: a path that ends in ``.toml``, relative to the target file.
Or everything goes into one file: instead of ``board = "..."`` the table ``[board]`` with the content of a
board file (``[board.cpu]``, ``[[board.port]]``, ...) less ``schema`` and ``kind``, and for storage
``[storage.NAME]`` with the content of a storage file less ``schema`` and ``id``; ``storage = "NAME"`` then
means that table.

A ``[provenance]`` table says where numbers come from: the dotted name of a field, elements of arrays by their
``id`` or ``name``, maps to a text that starts with S (seen in the source that follows), D (derived from
such numbers) or M (from memory or estimated).
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from ooc_solve.models.cost import KERNEL_KINDS
from ooc_solve.models.roles import assigned
from ooc_solve.models.vocabulary import (
    Bank,
    Board,
    Crypto,
    Endurance,
    Erase,
    InputError,
    KernelCost,
    Npu,
    Objective,
    Port,
    RuntimeCost,
    Storage,
    StorageAccess,
    Store,
    Target,
)

SCHEMA = "ooc-profile/1"

ROLES = ("weights", "activations", "annex")
"""What a store of a target is for, a table each."""

# Beyond this, an integer no longer survives JSON readers or float arithmetic.
LARGEST = 2**53

# Which memories a bus can carry; SPI ports wired to a card slot also serve other SPI parts.
CARRIES = {
    "sd-spi": ("sd", "nor", "nand", "psram", "fram", "mram"),
    "spi": ("sd", "nor", "nand", "psram", "fram", "mram"),
    "sd-4bit": ("sd",),
    "emmc-8bit": ("emmc",),
    "qspi": ("nor", "nand", "psram", "fram", "mram"),
    "ospi-dtr": ("nor", "nand", "psram", "mram"),
    "hyperbus": ("nor", "psram"),
    "sdram": ("sdram",),
}
STORAGE_KINDS = ("sd", "emmc", "nor", "nand", "psram", "fram", "mram", "sdram")


# --------------------------------------------------------------------------- loading


def load_target(name_or_path: str | Path) -> Target:
    """Return the built-in target of that id, or the one described by a TOML file.

    A string that is no built-in id is taken as a path when it ends in ``.toml``, contains a
    slash or names a file. ``Target.provenance`` maps ``board.FIELD`` and ``storage.ID.FIELD``
    to the source of the number.

    Raises
    ------
    InputError
        The file cannot be read or says something impossible; names file and key.
    """
    return _target(_open("target", name_or_path, None))


def target_tables(name_or_path: str | Path) -> dict[str, Any]:
    """Return a target as one table that refers to no other file: board and storage parts are inside.

    Written as TOML, `load_target` reads the same target from it. Raises as `load_target`.
    """
    source = _open("target", name_or_path, None)
    _target(source)
    tables = deepcopy(source.data)
    if not isinstance(tables["board"], dict):
        tables["board"] = _without(_open_board(source).data, ("schema", "kind"))
    storage = tables.setdefault("storage", {})
    places = [tables[role] for role in ROLES if role in tables] + tables.get("store", [])
    for place in places:
        if place["storage"] not in storage:
            part = _refer(source, "storage", "storage part", place["storage"]).data
            storage[part["id"]] = _without(part, ("schema", "id"))
            place["storage"] = part["id"]
    return tables


def _without(table: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: deepcopy(value) for key, value in table.items() if key not in keys}


def load_board(name_or_path: str | Path) -> Board:
    """Return the built-in board of that id, or the one described by a TOML file; see `load_target`."""
    return _board(_open("board", name_or_path, None))


def load_storage(name_or_path: str | Path) -> Storage:
    """Return the built-in storage part of that id, or the one described by a TOML file; see `load_target`."""
    return _storage(_open("storage part", name_or_path, None))


def list_targets() -> tuple[Target, ...]:
    """Return all built-in targets, by name."""
    return tuple(load_target(name) for name in _built_in("target"))


def list_boards() -> tuple[Board, ...]:
    """Return all built-in boards, by name."""
    return tuple(load_board(name) for name in _built_in("board"))


def list_storage() -> tuple[Storage, ...]:
    """Return all built-in storage parts, by name."""
    return tuple(load_storage(name) for name in _built_in("storage part"))


@dataclass(frozen=True, slots=True)
class _Source:
    """A TOML table, whole file or part of one, with the words that name it in messages.

    ``prefix`` goes before keys ("board." inside a target file); ``folder`` is where relative
    paths start, None for built-in files.
    """

    file: str
    data: dict[str, Any]
    prefix: str = ""
    folder: Path | None = None

    def error(self, key: str, complaint: str) -> InputError:
        return InputError(f"{self.file}: '{_printable(self.prefix + key)}' {complaint}.")

    def inside(self, key: str, data: dict[str, Any]) -> _Source:
        return _Source(self.file, data, f"{self.prefix}{key}.", self.folder)


_FOLDERS = {"target": "targets", "board": "boards", "storage part": "storage"}


def _built_in(what: str) -> dict[str, Traversable]:
    entries = files("ooc_solve.models").joinpath(_FOLDERS[what]).iterdir()
    named = {entry.name.removesuffix(".toml"): entry for entry in entries if entry.name.endswith(".toml")}
    return dict(sorted(named.items()))


def _open(what: str, reference: str | Path, folder: Path | None) -> _Source:
    """Find the built-in id or path ``reference``; relative paths start at ``folder``."""
    built_in = _built_in(what)
    if str(reference) in built_in and not isinstance(reference, Path):
        return _parse(f"built-in {what} '{reference}'", built_in[str(reference)], None)
    path = (folder or Path()) / reference
    if not (isinstance(reference, Path) or reference.endswith(".toml") or "/" in reference or path.is_file()):
        raise InputError(f"There is no built-in {what} '{reference}'{_hint(reference, built_in)}.")
    return _parse(str(path), path, path.parent)


def _parse(name: str, entry: Traversable, folder: Path | None) -> _Source:
    try:
        return _Source(name, tomllib.loads(entry.read_bytes().decode()), "", folder)
    except OSError as error:
        raise InputError(f"{name}: the file cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: the file must be UTF-8 text (byte {error.start} is not).") from error
    except RecursionError as error:
        raise InputError(f"{name}: the file must be TOML nested less deeply.") from error
    except ValueError as error:
        raise InputError(f"{name}: the file must be valid TOML ({error}).") from error


def _hint(word: str, known: Iterable[str]) -> str:
    """Say the nearest known word, or all of them when none is near."""
    known = tuple(known)
    near = difflib.get_close_matches(word, known, n=1)
    return f"; the nearest is '{near[0]}'" if near else f"; choose from {', '.join(known) or 'none'}"


# ----------------------------------------------------------------------- what is legal

# A check returns what must hold, or "" when it does.
_Check = Callable[[object], str]
# Keys with a trailing "?" may be absent. A list holds one form for all its tables; `_Named` likewise.
_Form = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Named:
    """Tables under names of the author's choice, all of one form."""

    form: _Form


def _whole(least: int) -> _Check:
    def check(value: object) -> str:
        legal = isinstance(value, int) and _between(value, least, LARGEST)
        return "" if legal else f"must be an integer from {least} to 2**53"

    return check


def _between(value: object, least: float, most: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most


def _real(value: object) -> str:
    return "" if _between(value, 0, LARGEST) else "must be a number from 0 to 2**53"


def _positive(value: object) -> str:
    return "" if _between(value, 0, LARGEST) and value else "must be a number above 0 and up to 2**53"


def _share(value: object) -> str:
    return "" if _between(value, 0, 1) and value else "must be a number above 0 and at most 1"


def _flag(value: object) -> str:
    return "" if isinstance(value, bool) else "must be true or false"


def _text(value: object) -> str:
    legal = isinstance(value, str) and value.strip() and value.isprintable()
    return "" if legal else "must be one line of text"


def _name(value: object) -> str:
    legal = isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}", value)
    return "" if legal else "must be a name of letters, digits and . _ + -"


def _reference(value: object) -> str:
    return _text(value) and "must be a built-in id or the path of a .toml file"


def _sources(value: object) -> str:
    return "" if isinstance(value, dict) else "must be a table"  # its entries: _check_provenance


def _one_of(*words: str) -> _Check:
    wanted = f"one of {', '.join(words)}" if len(words) > 1 else f"'{words[0]}'"
    return lambda value: "" if value in words else f"must be {wanted}"


_COUNT = _whole(1)
_COUNT_OR_NONE = _whole(0)

_PORT: _Form = {
    "id": _name,
    "bus": _one_of(*CARRIES),
    "clock_hz": _COUNT,
    "peak_bytes_per_s": _COUNT,
    "read_efficiency": _share,
    "write_efficiency": _share,
    "setup_ns": _COUNT_OR_NONE,
    "cpu_cycles_per_byte": _real,
    "exclusive_group?": _name,
}
_KERNEL: _Form = {
    "cycles_per_call?": _real,
    "cycles_per_block?": _real,
    "cycles_per_line?": _real,
    "cycles_per_cut?": _real,
    "cycles_per_single?": _real,
    "cycles_per_output?": _real,
    "cycles_per_run?": _real,
    "cycles_per_mac?": _real,
    "cycles_per_single_mac?": _real,
    "cycles_per_tail?": _real,
}
_RUNTIME: _Form = {
    "conv_cycles_per_mac": _positive,
    "dw_cycles_per_mac": _positive,
    "fc_cycles_per_mac": _positive,
    "cycles_per_output": _real,
    "cycles_per_call": _real,
    "xip_cycles_per_weight_byte?": _real,
    "rms_error_percent?": _real,
    "cycles_per_request?": _real,
    "cycles_per_checked_byte?": _real,
    "kernel?": _Named(_KERNEL),
}
_CRYPTO: _Form = {
    "engine": _one_of("sw", "hw", "inline"),
    "cycles_per_byte?": _real,
    "bytes_per_s?": _COUNT,
    "setup_ns": _COUNT_OR_NONE,
    "cpu_busy": _flag,
    "directions": _one_of("rw", "r"),
}
_NPU: _Form = {
    "fixed_ns": _COUNT_OR_NONE,
    "combine": _one_of("sum", "max"),
    "weight_bytes_per_s?": _COUNT,
    "outputs_per_s?": _COUNT,
    "macs_per_s?": _COUNT,
    "weight_mem_bytes?": _COUNT,
    "data_mem_bytes?": _COUNT,
}
_BOARD: _Form = {
    "id": _name,
    "title": _text,
    "emulator?": _name,
    "cpu": {"core": _name, "cores": _COUNT, "clock_hz": _COUNT},
    "sram": {"usable_bytes": _COUNT, "bank": [{"name": _name, "size_bytes": _COUNT, "dma": _flag}]},
    "flash?": {"size_bytes": _COUNT},
    "dma": {
        "channels": _COUNT_OR_NONE,
        "overlaps_cpu": _flag,
        "setup_cycles": _real,
        "cpu_stall_cycles_per_byte": _real,
    },
    "port": [_PORT],
    "runtime": _Named(_RUNTIME),
    "power": {"active_mw": _positive, "io_wait_mw": _positive, "sleep_mw": _real},
    "crypto?": _Named(_CRYPTO),
    "npu?": _Named(_NPU),
    "provenance?": _sources,
}
_BOARD_FILE: _Form = {"schema": _one_of(SCHEMA), "kind": _one_of("board"), **_BOARD}

_ACCESS: _Form = {
    "bytes_per_s": _COUNT,
    "setup_ns": _COUNT_OR_NONE,
    "granularity_bytes": _COUNT,
    "max_burst_bytes?": _COUNT,
}
_STORAGE: _Form = {
    "kind": _one_of(*STORAGE_KINDS),
    "capacity_bytes": _COUNT,
    "volatile": _flag,
    "read": _ACCESS,
    "write": {**_ACCESS, "page_bytes?": _COUNT, "page_program_ns?": _COUNT, "stall_ns_max?": _COUNT},
    "erase?": {"required": _flag, "block_bytes": _COUNT, "typ_ns": _COUNT, "max_ns": _COUNT},
    "endurance?": {
        "cycles": _COUNT,
        "unit": _one_of("block", "byte", "device"),
        "write_amplification": _positive,
    },
    "energy": {
        "read_nj_per_byte": _real,
        "write_nj_per_byte": _real,
        "erase_nj_per_byte?": _real,
        "read_nj_per_request?": _real,
        "write_nj_per_request?": _real,
        "idle_mw": _real,
        "sleep_mw": _real,
    },
    "provenance?": _sources,
}
_STORAGE_FILE: _Form = {"schema": _one_of(SCHEMA), "id": _name, **_STORAGE}

_PLACE: _Form = {"port": _name, "storage": _reference}
_TARGET_FILE: _Form = {
    "schema": _one_of(SCHEMA),
    "kind": _one_of("target"),
    "id": _name,
    "title": _text,
    "board": _reference,
    "runtime": _name,
    "npu?": _name,
    "weights": _PLACE,
    "activations?": _PLACE,
    "annex?": _PLACE,
    "storage?": _Named(_STORAGE),
}


# The same with parts that get their roles by the rule.
_PARTS_FILE: _Form = {
    **{key: form for key, form in _TARGET_FILE.items() if key.removesuffix("?") not in ROLES},
    "store": [_PLACE],
}


def _check(source: _Source, form: _Form) -> None:
    """Raise the first thing wrong with a table: its kind, unknown keys, missing keys, then values."""
    known = {key.removesuffix("?"): rule for key, rule in form.items()}
    for key in ("schema", "kind"):  # first, since in a file of the wrong kind nothing else makes sense
        if key in source.data and key in known:
            _check_value(source, key, source.data[key], known[key])
    for key in source.data:
        if key not in known:
            raise source.error(key, f"is not a known key{_unit_hint(key, known)}")
    for key, rule in form.items():
        if key in known and key not in source.data:
            raise source.error(key, f"is missing{_wanted(rule)}")
    for key, value in source.data.items():
        _check_value(source, key, value, known[key])


def _unit_hint(key: str, known: Iterable[str]) -> str:
    known = tuple(known)
    quantity = next((name for name in known if name.startswith(f"{key}_")), None)
    return f"; write '{quantity}', with its unit" if quantity else _hint(key, known)


def _wanted(rule: object) -> str:
    return f"; it {rule(None)}" if callable(rule) else "; it must be a table"


def _check_value(source: _Source, key: str, value: object, rule: object) -> None:
    if isinstance(rule, list):
        _check_tables(source, key, value, rule[0])
    elif callable(rule):
        complaint = rule(value)
        if complaint:
            raise source.error(key, f"{complaint} (got {_shown(value)})")
    elif not isinstance(value, dict):
        raise source.error(key, f"must be a table (got {_shown(value)})")
    elif isinstance(rule, _Named):
        _check_named(source.inside(key, value), rule.form)
    else:
        assert isinstance(rule, Mapping)
        _check(source.inside(key, value), rule)


def _check_named(source: _Source, form: _Form) -> None:
    for name, table in source.data.items():
        if _name(name):
            raise source.error(name, _name(name))
        _check_value(source, name, table, form)


def _check_tables(source: _Source, key: str, value: object, form: _Form) -> None:
    """Check an array of tables whose first key names them; the names must differ."""
    label = next(iter(form))
    if not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
        raise source.error(key, f"must be one or more tables (got {_shown(value)})")
    seen: set[str] = set()
    for position, item in enumerate(value, 1):
        name = item.get(label)
        _check(source.inside(f"{key}[{position}]" if _name(name) else f"{key}.{name}", item), form)
        if name in seen:
            raise source.error(f"{key}.{label}", f"must differ between tables (got '{name}' twice)")
        seen.add(name)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and abs(value) > 2**64:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "an array"
    return _printable(f"'{value}'" if isinstance(value, str) else str(value))


def _printable(text: str) -> str:
    """Return the text on one line and of bearable length."""
    line = text if text.isprintable() else ascii(text)[1:-1]
    return line if len(line) <= 80 else f"{line[:77]}..."


def _require(holds: bool, source: _Source, key: str, complaint: str) -> None:
    if not holds:
        raise source.error(key, complaint)


def _numbers(table: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of all numbers of a board or storage table, arrays by ``id`` or ``name``."""
    for key, value in table.items():
        if isinstance(value, Mapping) and key != "provenance":
            yield from _numbers(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            for item in value:
                yield from _numbers(item, f"{prefix}{key}.{item.get('id', item.get('name'))}.")
        elif type(value) in (int, float):
            yield f"{prefix}{key}"


def _check_provenance(source: _Source) -> None:
    fields = tuple(_numbers(source.data))
    for key, text in source.data.get("provenance", {}).items():
        if key not in fields:
            raise source.error(f"provenance.{key}", f"names no number of this file{_hint(key, fields)}")
        if not isinstance(text, str) or not re.fullmatch(r"M|[SDM]: [^\n]+", text):
            raise source.error(f"provenance.{key}", f"must be 'S: ...', 'D: ...' or 'M' (got {_shown(text)})")


# --------------------------------------------------------------------------- building


def _board(source: _Source, form: _Form = _BOARD_FILE) -> Board:
    _check(source, form)
    _check_board(source)
    data = source.data
    dma = data["dma"]
    return Board(
        name=data["id"],
        title=data["title"],
        **data["cpu"],
        usable_bytes=data["sram"]["usable_bytes"],
        banks=tuple(Bank(**bank) for bank in data["sram"]["bank"]),
        flash_bytes=data.get("flash", {}).get("size_bytes"),
        dma_channels=dma["channels"],
        overlaps_cpu=dma["overlaps_cpu"],
        dma_setup_cycles=dma["setup_cycles"],
        cpu_stall_cycles_per_byte=dma["cpu_stall_cycles_per_byte"],
        ports=tuple(_port(port) for port in data["port"]),
        runtimes=tuple(_runtime(name, cost) for name, cost in data["runtime"].items()),
        **data["power"],
        crypto=tuple(Crypto(name, **engine) for name, engine in data.get("crypto", {}).items()),
        npus=tuple(Npu(name, **npu) for name, npu in data.get("npu", {}).items()),
        emulator=data.get("emulator"),
    )


def _runtime(name: str, data: dict[str, Any]) -> RuntimeCost:
    kernels = tuple(KernelCost(kind, **cost) for kind, cost in data.get("kernel", {}).items())
    common = {key: value for key, value in data.items() if key != "kernel"}
    return RuntimeCost(name, **common, kernels=kernels)


def _port(data: dict[str, Any]) -> Port:
    return Port(name=data["id"], **{key: value for key, value in data.items() if key != "id"})


def _check_board(source: _Source) -> None:
    data = source.data
    sram = data["sram"]
    total = sum(bank["size_bytes"] for bank in sram["bank"])
    complaint = f"must be at most the sum of the banks, {total} (got {sram['usable_bytes']})"
    _require(sram["usable_bytes"] <= total, source, "sram.usable_bytes", complaint)
    dma = data["dma"]
    complaint = "must be false where 'dma.channels' is 0"
    _require(dma["channels"] > 0 or not dma["overlaps_cpu"], source, "dma.overlaps_cpu", complaint)
    power = data["power"]
    complaint = f"must be at most active_mw, {power['active_mw']} (got {power['io_wait_mw']})"
    _require(power["io_wait_mw"] <= power["active_mw"], source, "power.io_wait_mw", complaint)
    _require(len(data["runtime"]) > 0, source, "runtime", "must hold at least one table")
    for name, cost in data["runtime"].items():
        for kind in cost.get("kernel", {}):
            complaint = f"is no kind of kernel{_hint(kind, KERNEL_KINDS)}"
            _require(kind in KERNEL_KINDS, source, f"runtime.{name}.kernel.{kind}", complaint)
    for name, engine in data.get("crypto", {}).items():
        complaint = "must have exactly one of cycles_per_byte and bytes_per_s"
        one = ("cycles_per_byte" in engine) != ("bytes_per_s" in engine)
        _require(one, source, f"crypto.{name}", complaint)
    _check_provenance(source)


def _storage(source: _Source, name: str | None = None) -> Storage:
    """Build a part from its own file, or from the table ``name`` of a target file."""
    _check(source, _STORAGE_FILE if name is None else _STORAGE)
    _check_storage(source)
    data = source.data
    return Storage(
        name=data["id"] if name is None else name,
        kind=data["kind"],
        capacity_bytes=data["capacity_bytes"],
        volatile=data["volatile"],
        read=StorageAccess(**data["read"]),
        write=StorageAccess(**data["write"]),
        erase=Erase(**data["erase"]) if "erase" in data else None,
        endurance=Endurance(**data["endurance"]) if "endurance" in data else None,
        **{"erase_nj_per_byte": 0.0, **data["energy"]},
    )


def _check_storage(source: _Source) -> None:
    for way in ("read", "write"):
        access = source.data[way]
        fits = access.get("max_burst_bytes", LARGEST) >= access["granularity_bytes"]
        _require(fits, source, f"{way}.max_burst_bytes", "must be at least granularity_bytes")
    write = source.data["write"]
    paired = ("page_bytes" in write) == ("page_program_ns" in write)
    _require(paired, source, "write", "must have page_bytes and page_program_ns together or neither")
    paged = write.get("page_bytes", 0) % write["granularity_bytes"] == 0
    _require(paged, source, "write.page_bytes", "must be a multiple of granularity_bytes")
    _check_erase(source)
    _check_provenance(source)


def _check_erase(source: _Source) -> None:
    data = source.data
    erase = data.get("erase")
    if erase is None:
        worn_by_block = data.get("endurance", {}).get("unit") == "block"
        _require(
            not worn_by_block, source, "erase", "is missing; parts that wear by block need its block_bytes"
        )
        return
    _require(erase["max_ns"] >= erase["typ_ns"], source, "erase.max_ns", "must be at least typ_ns")
    unit = data["write"].get("page_bytes", data["write"]["granularity_bytes"])
    complaint = f"must be a multiple of what is written at once, {unit} (got {erase['block_bytes']})"
    _require(erase["block_bytes"] % unit == 0, source, "erase.block_bytes", complaint)
    complaint = f"must be a multiple of erase.block_bytes (got {data['capacity_bytes']})"
    _require(data["capacity_bytes"] % erase["block_bytes"] == 0, source, "capacity_bytes", complaint)
    known = not erase["required"] or "erase_nj_per_byte" in data["energy"]
    _require(known, source, "energy.erase_nj_per_byte", "is missing; it belongs to parts that need erasing")


def _target(source: _Source) -> Target:
    data = source.data
    embedded = isinstance(data.get("board"), dict)
    form = _PARTS_FILE if "store" in data else _TARGET_FILE
    _check(source, {**form, "board": _BOARD} if embedded else form)
    origin = source.inside("board", data["board"]) if embedded else _open_board(source)
    board = _board(origin, _BOARD if embedded else _BOARD_FILE)
    runtime = _pick(source, "runtime", {cost.name: cost for cost in board.runtimes}, f"board '{board.name}'")
    provenance = _provenance("board", origin)
    npu = None
    if "npu" in data:
        npu = _pick(source, "npu", {unit.name: unit for unit in board.npus}, f"board '{board.name}'")
    if "store" in data:
        return replace(_with_roles(source, board, runtime, provenance), npu=npu)
    stores = {
        role: _store(source, source.inside(role, data[role]), role, board, provenance)
        for role in ROLES
        if role in data
    }
    weights, activations, annex = (stores.get(role) for role in ROLES)
    assert weights is not None  # the form asks for it
    if activations and _same_part(activations, weights):
        weights = activations = Store("both", weights.port, weights.storage)
    if annex:
        annex = _annex(source, annex, weights, activations)
    return Target(
        data["id"], data["title"], board, runtime, weights, activations, provenance, annex=annex, npu=npu
    )


def _with_roles(source: _Source, board: Board, runtime: RuntimeCost, provenance: dict[str, str]) -> Target:
    """A target whose parts get their roles by the rule, for latency as long as nobody asks for more."""
    data = source.data
    parts = tuple(
        _store(source, source.inside(f"store.{place['port']}", place), "part", board, provenance)
        for place in data["store"]
    )
    lasting = [part for part in parts if not part.storage.volatile]
    _require(bool(lasting), source, "store", "must list a part that keeps its content without power")
    target = Target(data["id"], data["title"], board, runtime, lasting[0], None, provenance, parts=parts)
    return assigned(target, Objective.LATENCY)


def _same_part(a: Store, b: Store) -> bool:
    return (a.port, a.storage) == (b.port, b.storage)


def _annex(source: _Source, annex: Store, weights: Store, activations: Store | None) -> Store:
    """The annex, which is the store of the activations if it is the same part."""
    kept = not annex.storage.volatile
    complaint = f"must keep its content without power (got '{annex.storage.name}')"
    _require(kept, source, "annex.storage", complaint)
    shared = activations is not None and _same_part(annex, activations)
    others = [weights.channel] if shared or activations is None else [weights.channel, activations.channel]
    complaint = f"must be a port whose channel no other store uses (got '{annex.port.name}')"
    _require(annex.channel not in others, source, "annex.port", complaint)
    return activations if shared and activations is not None else annex


def _open_board(source: _Source) -> _Source:
    return _refer(source, "board", "board", source.data["board"])


def _refer(source: _Source, key: str, what: str, reference: str) -> _Source:
    """Open what a target file refers to; a wrong id is blamed on the key of that file."""
    known = _built_in(what)
    if reference not in known and not reference.endswith(".toml"):
        raise source.error(
            key, f"must be a built-in {what} or a .toml file (got '{reference}'){_hint(reference, known)}"
        )
    return _open(what, reference, source.folder)


def _provenance(prefix: str, origin: _Source) -> dict[str, str]:
    return {f"{prefix}.{key}": text for key, text in origin.data.get("provenance", {}).items()}


def _pick(source: _Source, key: str, choices: Mapping[str, Any], owner: str) -> Any:
    value: Any = source.data
    for part in key.split("."):
        value = value[part]
    if value not in choices:
        raise source.error(key, f"must be one that {owner} has (got '{value}'){_hint(value, choices)}")
    return choices[value]


def _store(source: _Source, place: _Source, role: str, board: Board, provenance: dict[str, str]) -> Store:
    """Build the store of one ``place`` of a target file and note where its numbers come from."""
    ports = {port.name: port for port in board.ports}
    port: Port = _pick(place, "port", ports, f"board '{board.name}'")
    reference = place.data["storage"]
    embedded = source.data.get("storage", {})
    if reference in embedded:
        origin = source.inside("storage", embedded).inside(reference, embedded[reference])
        storage = _storage(origin, reference)
    else:
        origin = _refer(place, "storage", "storage part", reference)
        storage = _storage(origin)
    complaint = f"must be a part that a {port.bus} port can carry (got '{storage.name}', kind {storage.kind})"
    _require(storage.kind in CARRIES[port.bus], place, "storage", complaint)
    provenance.update(_provenance(f"storage.{storage.name}", origin))
    return Store(role, port, storage)
