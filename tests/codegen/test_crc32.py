"""The checksum of records against zlib."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest

RUNTIME = Path(__file__).resolve().parents[2] / "codegen" / "runtime"


@pytest.mark.parametrize("flag", ["-DOOC_SMALL_CRC", "-UOOC_SMALL_CRC"])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_checksum_is_that_of_zlib(compiler: str, flag: str, tmp_path: Path) -> None:
    """With either table, for all lengths and alignments, whole or continued."""
    if shutil.which(compiler) is None:
        pytest.skip(f"needs {compiler}")
    target = tmp_path / "crc32.so"
    source = RUNTIME / "ooc_crc32.c"
    subprocess.run([compiler, "-std=c99", "-O2", flag, "-shared", "-fPIC", source, "-o", target], check=True)
    library = ctypes.CDLL(str(target))
    library.ooc_crc32.restype = ctypes.c_uint32
    data = np.random.default_rng(1).integers(0, 256, 300).astype(np.uint8).tobytes()
    for start in range(4):
        for end in range(start, len(data)):
            part = ctypes.create_string_buffer(data[:end])
            begin = ctypes.cast(ctypes.addressof(part) + start, ctypes.c_void_p)
            whole = library.ooc_crc32(0, begin, end - start)
            assert whole == zlib.crc32(data[start:end])
            middle = (end - start) // 3
            first = library.ooc_crc32(0, begin, middle)
            rest = ctypes.cast(ctypes.addressof(part) + start + middle, ctypes.c_void_p)
            assert library.ooc_crc32(first, rest, end - start - middle) == whole
