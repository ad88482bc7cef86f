"""Sealing on the host: records of weights, with the authenticated ciphers of the library ``cryptography``."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ooc_solve.models.cost import align_up
from ooc_solve.models.sealing import NONCE_BYTES, SEAL_BYTES, Cipher, cipher_of
from ooc_solve.models.vocabulary import Crypto, InputError, InternalError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

USE_IMAGE = 1
"""``enum ooc_use``: first byte of the nonces of an image."""

STAMP_BYTES, OFFSET_BYTES = 7, 4
AES_KEY_BYTES = 16


@dataclass(frozen=True, slots=True)
class Sealer:
    """Seals the records of one image.

    ``digest`` is that of the tables, which stands for all the image holds: so with one key a nonce comes
    again only for the same record.
    """

    cipher: Cipher
    key: bytes | None
    digest: bytes

    def __post_init__(self) -> None:
        if self.key is None or len(self.key) != self.cipher.key_bytes:
            raise InternalError(f"A cipher must have its {self.cipher.key_bytes} bytes of key.")
        if len(self.digest) < STAMP_BYTES:
            raise InternalError("Records are sealed with the digest of their tables.")

    def record(self, payload: bytes, offset: int, granule_bytes: int) -> bytes:
        """A record at an offset of the image, or behind it in the annex: payload with zeros up to the granule, encrypted; nonce; tag."""
        size = align_up(len(payload) + SEAL_BYTES, granule_bytes) - SEAL_BYTES
        nonce = image_nonce(self.digest, offset)
        found = self._aead().encrypt(nonce, payload.ljust(size, b"\0"), None)
        return found[:size] + nonce + found[size:]

    def _aead(self) -> AESGCM | ChaCha20Poly1305:
        check_library()
        from cryptography.hazmat.primitives.ciphers import aead

        key = self.key or b""
        return aead.AESGCM(key) if self.cipher.key_bytes == AES_KEY_BYTES else aead.ChaCha20Poly1305(key)


def image_nonce(digest: bytes, offset: int) -> bytes:
    """The nonce of the record at an offset of the image with a digest."""
    nonce = bytes([USE_IMAGE]) + digest[:STAMP_BYTES] + offset.to_bytes(OFFSET_BYTES, "little")
    if len(nonce) != NONCE_BYTES:
        raise InternalError(f"A nonce must have {NONCE_BYTES} bytes (got {len(nonce)}).")
    return nonce


def check_library() -> None:
    """See that the library is there.

    Raises
    ------
    InputError
        If it is not installed.
    """
    if find_spec("cryptography") is None:
        raise InputError(
            "Sealing an image needs the library cryptography (it is not installed): pip install cryptography."
        )


def key_recipe(crypto: Crypto, path: Path = Path("key.bin")) -> str:
    """The command that makes a key file."""
    return f"head -c {cipher_of(crypto).key_bytes} /dev/urandom > {path}"


def read_key(path: Path, crypto: Crypto) -> bytes:
    """The key in a file: exactly the bytes that the cipher takes.

    Raises
    ------
    InputError
        If the file cannot be read or has another size.
    """
    size = cipher_of(crypto).key_bytes
    try:
        key = path.read_bytes()
    except OSError as error:
        raise InputError(f"Key file '{path}': cannot be read ({error.strerror}).") from error
    if len(key) != size:
        raise InputError(
            f"Key file '{path}': must hold the {size} bytes of the key and nothing else (got {len(key)}); "
            f"make one with: {key_recipe(crypto, path)}."
        )
    return key
