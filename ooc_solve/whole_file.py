"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ooc_solve.models.vocabulary import InputError, UsageError


def check_writable(path: Path, option: str) -> None:
    """Refuse a path that cannot be written before work is spent on it; ``option`` says who asks."""
    due = f"{option} needs a plain file in a folder that can be written"
    try:
        if os.path.lexists(path) and (path.is_symlink() or not path.is_file()):
            raise InputError(f"{due} (got '{path}').")
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name):
            pass
    except OSError as error:
        raise InputError(f"{due} (got '{path}': {error.strerror}).") from error


def check_apart(written: Mapping[str, Path], read: Mapping[str, Path], directory: Path | None) -> None:
    """Refuse to write two files to one place, onto one that is read, or into a directory that is replaced.

    Raises
    ------
    UsageError
        Naming both options.
    """
    taken = {_place(path): name for name, path in read.items()}
    replaced = None if directory is None else _place(directory)
    for name, path in written.items():
        place = _place(path)
        if place in taken:
            raise UsageError(f"{taken[place]} and {name} must be different files (got '{path}' for both)")
        if replaced in (place, *place.parents):
            raise UsageError(
                f"{name} must lie outside of the directory of -o (got '{path}' in '{directory}')"
            )
        taken[place] = name


def _place(path: Path) -> Path:
    """Where a path leads; unlike `Path.resolve` it takes links that go round in circles."""
    return Path(os.path.realpath(path))


def write_whole(path: Path, content: str | bytes, option: str) -> None:
    """Write a file beside its place and rename it, so that nobody ever reads half of it."""
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise InputError(f"{option} '{path}' cannot be written ({error.strerror}).") from error
