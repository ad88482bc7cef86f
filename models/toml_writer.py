"""Tables as TOML text, in the manner of the built-in board files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any


def toml_text(table: dict[str, Any]) -> str:
    """Return a table as TOML. Values: text, numbers, booleans, tables, arrays of tables."""
    return "\n".join(_lines(table, ())).lstrip("\n") + "\n"


def _lines(table: dict[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    """First the plain values, then the tables below."""
    for key, value in table.items():
        if not isinstance(value, dict | list):
            yield f"{_key(key)} = {_value(value)}"
    for key, value in table.items():
        name = ".".join(_key(part) for part in (*path, key))
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, dict):
                if isinstance(value, list):
                    yield f"\n[[{name}]]"
                elif not inner or any(not isinstance(v, dict | list) for v in inner.values()):
                    yield f"\n[{name}]"
                yield from _lines(inner, (*path, key))


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:_}"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False)
