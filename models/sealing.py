"""Records that nobody can change unnoticed or read without the key: what sealing adds to them and costs.

A sealed record is its payload, encrypted, with a nonce and a tag behind it. Records of weights are sealed on
the host, rows of spilled activations by the runtime. Opening and sealing are tasks of their own: on the CPU,
between kernels, where it does so itself or waits for the engine that does; otherwise on the engine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ooc_solve.models.vocabulary import Crypto, InputError, Target

NONCE_BYTES = 12
TAG_BYTES = 16
SEAL_BYTES = NONCE_BYTES + TAG_BYTES
"""What lies behind the payload of a sealed record."""

CHECKSUM_BYTES = 4
"""What lies behind the payload of a record that is not sealed."""

PLAIN, INLINE = "none", "inline"

MAPPED = ("qspi", "ospi-dtr", "hyperbus")
"""Buses behind which memory is mapped, so that an engine in the read path sees it."""


@dataclass(frozen=True, slots=True)
class Cipher:
    """An authenticated cipher: its name for people and in board files, its number in tables, its bytes of key."""

    title: str
    engine: str
    number: int
    key_bytes: int


CIPHERS = {
    "aes-128-gcm": Cipher("AES-128-GCM", "aes128_gcm", 1, 16),
    "chacha20-poly1305": Cipher("ChaCha20-Poly1305", "chacha20_poly1305", 2, 32),
}
"""Ciphers by the names of options."""


def encrypted(target: Target, name: str) -> Target:
    """The target with records sealed by a cipher; as it is for ``none``. No NPU opens records, so it has none.

    With ``inline`` an engine in the read path decrypts weights. It cannot write, so nothing goes to storage.

    Raises
    ------
    InputError
        If there is no such cipher, or the board file does not say what it costs. Engines that only decrypt
        what is read (``directions = "r"``) make no tags, so they do not count.
    """
    if name == PLAIN:
        return replace(target, crypto=None, inline=None)
    if name == INLINE:
        return _read_inline(target)
    if name not in CIPHERS:
        raise InputError(f"Encryption must be one of {', '.join((PLAIN, *CIPHERS, INLINE))} (got '{name}').")
    engines = {engine.name: engine for engine in target.board.crypto if engine.directions == "rw"}
    wanted = CIPHERS[name].engine
    if wanted not in engines:
        raise InputError(
            f"Board '{target.board.name}': [crypto.{wanted}] must say what {name} costs (it has "
            f"{', '.join(engines) or 'no cipher'}); add it to the board file or choose another cipher."
        )
    return replace(target, crypto=engines[wanted], inline=None, npu=None)


def _read_inline(target: Target) -> Target:
    """The target with weights behind the board's inline engine, and nowhere to write to."""
    engines = [engine for engine in target.board.crypto if engine.engine == INLINE]
    port, missing = target.weights.port, ""
    if not engines:
        missing = f"board '{target.board.name}' has none"
    elif port.bus not in MAPPED:
        missing = f"port '{port.name}' is {port.bus}, not one of {', '.join(MAPPED)}"
    if missing:
        raise InputError(
            f"Target '{target.name}': weights must lie behind an inline engine ({missing}); choose a cipher or "
            "another target."
        )
    return replace(target, crypto=None, inline=engines[0], activations=None, annex=None, parts=())


def cipher_of(crypto: Crypto) -> Cipher:
    """The cipher that an engine of a target computes."""
    return next(cipher for cipher in CIPHERS.values() if cipher.engine == crypto.name)


def trailer_bytes(target: Target) -> int:
    """What lies behind the payload of a record of weights: a checksum, or nonce and tag."""
    return CHECKSUM_BYTES if target.crypto is None else SEAL_BYTES
