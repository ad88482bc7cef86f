"""Records of an image are sealed with the key, by their place and their tables."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from ooc_solve.codegen.seal import Sealer, image_nonce, read_key
from ooc_solve.models.sealing import CIPHERS, NONCE_BYTES, SEAL_BYTES, encrypted
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import InputError, InternalError

DIGEST = bytes(range(32))


@pytest.mark.parametrize("name", CIPHERS)
def test_record_opens_with_its_nonce_only(name: str) -> None:
    """A record is ciphertext, nonce and tag, in whole granules, and opens to payload and zeros."""
    key = bytes(range(CIPHERS[name].key_bytes))
    record = Sealer(CIPHERS[name], key, DIGEST).record(b"weights", 1024, 64)
    assert len(record) == 64
    text, nonce, tag = record[:-SEAL_BYTES], record[-SEAL_BYTES:-16], record[-16:]
    assert nonce == image_nonce(DIGEST, 1024) == b"\x01" + DIGEST[:7] + b"\x00\x04\x00\x00"
    opener = AESGCM(key) if name.startswith("aes") else ChaCha20Poly1305(key)
    assert opener.decrypt(nonce, text + tag, None) == b"weights".ljust(64 - SEAL_BYTES, b"\0")


def test_nonces_differ_by_place_and_tables() -> None:
    """Two places of an image, or one place of two images, have two nonces."""
    nonces = {image_nonce(digest, offset) for digest in (DIGEST, DIGEST[::-1]) for offset in (0, 64, 1 << 31)}
    assert len(nonces) == 6
    assert {len(nonce) for nonce in nonces} == {NONCE_BYTES}


def test_a_sealer_needs_its_key() -> None:
    """Nothing is sealed without a key, or with one of another size."""
    for key in (None, b"", bytes(32)):
        with pytest.raises(InternalError, match="16 bytes of key"):
            Sealer(CIPHERS["aes-128-gcm"], key, DIGEST)


def test_key_files(tmp_path: Path) -> None:
    """A key file holds the bytes of the key; anything else is refused by size or name."""
    crypto = encrypted(load_target("f746-sd"), "aes-128-gcm").crypto
    assert crypto is not None
    path = tmp_path / "key.bin"
    path.write_bytes(bytes(16))
    assert read_key(path, crypto) == bytes(16)
    path.write_bytes(bytes(17))
    with pytest.raises(InputError, match=r"must hold the 16 bytes .* \(got 17\)"):
        read_key(path, crypto)
    with pytest.raises(InputError, match="cannot be read"):
        read_key(tmp_path / "none.bin", crypto)
