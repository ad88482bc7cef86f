"""What sealing adds to records, and what it costs by the board file."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ooc_solve.models.cost import (
    check_ns,
    crypto_ns,
    handling_ns,
    on_cpu,
    on_engine,
    opening_ns,
    read_ns,
    sealing_ns,
)
from ooc_solve.models.sealing import CIPHERS, SEAL_BYTES, cipher_of, encrypted, trailer_bytes
from ooc_solve.models.target import load_target
from ooc_solve.models.tiling import StorageLayout
from ooc_solve.models.vocabulary import DType, InputError, RegionName, Tensor, Transfer


def test_ciphers_are_found_on_the_board() -> None:
    """A target takes the engine of its board that has the cipher's name, and gives it back."""
    plain = load_target("f746-sd")
    for name, cipher in CIPHERS.items():
        target = encrypted(plain, name)
        assert target.crypto is not None
        assert target.crypto.name == cipher.engine
        assert cipher_of(target.crypto) == cipher
        assert encrypted(target, "none") == plain


def test_a_board_without_the_cipher_is_refused() -> None:
    """The board file must say what a cipher costs; engines that only read make no tags."""
    with pytest.raises(InputError, match=r"\[crypto.aes128_gcm\] must say"):
        encrypted(load_target("nrf52840-nor"), "aes-128-gcm")
    with pytest.raises(InputError, match="must be one of none, aes-128-gcm"):
        encrypted(load_target("f746-sd"), "rot13")


def test_cost_is_setup_and_bytes() -> None:
    """Each record costs the setup, each byte the cycles of the board file; nothing without a cipher."""
    plain = load_target("f746-sd")
    target = encrypted(plain, "aes-128-gcm")  # 55 cycles per byte at 216 MHz, 10 us
    assert crypto_ns(target, 3, 216) == 3 * 10_000 + 55_000
    assert check_ns(target, 216 + SEAL_BYTES) == 10_000 + 55_000
    record = Transfer(RegionName.IMAGE, 0, 216 + SEAL_BYTES, 1, 0, True, 1, 216)
    rows = Transfer(RegionName.SCRATCH, 0, 1024, 1, 0, False, 2, 432)
    assert opening_ns(target, record) == 65_000
    assert opening_ns(target, rows) == sealing_ns(target, rows) == 130_000
    assert crypto_ns(plain, 3, 216) == 0
    assert (trailer_bytes(plain), trailer_bytes(target)) == (4, SEAL_BYTES)


def test_rows_that_lie_whole_in_a_range() -> None:
    """Rows cut by either end of a range do not count, nor does padding between records."""
    tensor = Tensor("t", 5, 4, 3, DType.INT8)
    layout = StorageLayout(tensor, 3, 2, 64, 0, SEAL_BYTES)
    assert layout.row_bytes(0) == 40
    assert [layout.offset(0, row) for row in range(5)] == [0, 40, 128, 168, 256]
    assert layout.rows_within(0, 0, 320) == 5
    assert layout.rows_within(0, 0, 79) == 1
    assert layout.rows_within(0, 1, 208) == 3
    assert layout.rows_within(0, 41, 128) == 0
    assert not layout.rows_are_aligned


def test_an_engine_beside_the_cpu_takes_the_time() -> None:
    """All time to open and seal is the engine's where the CPU is not busy with it, each record with its request."""
    target = encrypted(load_target("f746-sd"), "aes-128-gcm")
    assert target.crypto is not None
    beside = replace(target, crypto=replace(target.crypto, engine="hw", cpu_busy=False))
    assert (target.engine, beside.engine) == (None, beside.crypto)
    assert (on_cpu(target, 7), on_engine(target, 7)) == (7, 0)
    assert (on_cpu(beside, 7), on_engine(beside, 7)) == (0, 7)
    assert crypto_ns(beside, 3, 216) == crypto_ns(target, 3, 216) + handling_ns(beside, 216, 3)
    alone = replace(beside, board=replace(beside.board, overlaps_cpu=False))
    assert alone.engine is None


def test_an_inline_engine_slows_reads_of_weights() -> None:
    """Its setup and time per byte are part of each read of weights; nothing can be written; others are refused."""
    plain = load_target("u585-octal")
    inline = encrypted(plain, "inline")
    assert inline.inline is not None
    assert (inline.inline.name, inline.crypto, inline.activations) == ("otfdec", None, None)
    slow = replace(
        inline, inline=replace(inline.inline, setup_ns=500, cycles_per_byte=16)
    )  # 100 ns at 160 MHz
    assert read_ns(inline, inline.weights, 4096) == read_ns(plain, plain.weights, 4096)
    assert read_ns(slow, slow.weights, 4096) - read_ns(inline, inline.weights, 4096) == 500 + 409_600
    assert read_ns(slow, slow.weights, 4096, 4) - read_ns(inline, inline.weights, 4096, 4) == 2000 + 409_600
    assert trailer_bytes(inline) == trailer_bytes(plain)
    for target in ("rt1060-sd", "f746-qspi-sdram"):
        with pytest.raises(InputError, match="weights must lie behind an inline engine"):
            encrypted(load_target(target), "inline")
