"""Plans as JSON and back, without loss, and the hash that names a plan.

The document follows the classes of the vocabulary: an object per dataclass with the names
of its fields, a list per tuple, a sorted list per set, the value of an enum. It is read
strictly: nothing may be missing, nothing unknown may be there.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import InputError, Plan, Target

SCHEMA = "ooc-plan/1"


def plan_to_json(plan: Plan) -> dict[str, Any]:
    """The plan as a JSON object with its schema."""
    return {"schema": SCHEMA, **_encode(plan)}


def plan_from_json(document: object, source: str = "plan") -> Plan:
    """The plan that a JSON object describes; ``source`` names it in errors.

    Only the form is checked here. Whether the plan is right is for the validator to say.

    Raises
    ------
    InputError
        If something is missing, unknown or of another type; names the place.
    """
    try:
        content = _object(document, "the document")
        if content.get("schema") != SCHEMA:
            raise ValueError(f"schema must be '{SCHEMA}' (got {content.get('schema')!r})")
        plan: Plan = _decode(Plan, {k: v for k, v in content.items() if k != "schema"}, "")
    except ValueError as error:
        raise InputError(f"{source}: {error}.") from None
    return plan


def plan_hash(problem: Problem, plan: Plan) -> str:
    """SHA-256 over network, target, options and plan: the same only if all of them are.

    Where numbers of the target come from does not count, nor does white space.
    """
    return _digest({"problem": _problem_values(problem), "plan": plan_to_json(plan)})


def dump_plan(problem: Problem, plan: Plan) -> str:
    """Text of a plan file: the plan, and hashes that tie it to its problem."""
    document = plan_to_json(plan)
    document["problem_hash"] = _digest(_problem_values(problem))
    document["plan_hash"] = plan_hash(problem, plan)
    return json.dumps(document, separators=(",", ":"), allow_nan=False) + "\n"


def parse_plan(problem: Problem, text: str, source: str) -> Plan:
    """The plan of a plan file that was made for this problem.

    Raises
    ------
    InputError
        If the text is no plan, was changed, or was made for another model, target or options.
    """
    document = _parse(text, source)
    hashes = {name: document.pop(name, None) for name in ("problem_hash", "plan_hash")}
    plan = plan_from_json(document, source)
    if hashes["problem_hash"] != _digest(_problem_values(problem)):
        raise InputError(
            f"{source}: the plan must have been made for this model, target and options (its problem_hash "
            "differs); solve again."
        )
    if hashes["plan_hash"] != plan_hash(problem, plan):
        raise InputError(f"{source}: plan_hash must be that of the plan (the file was changed); solve again.")
    return plan


def _parse(text: str, source: str) -> dict[str, Any]:
    try:
        return _object(json.loads(text), "the document")
    except RecursionError:
        raise InputError(f"{source}: the file must hold a plan as JSON (it nests too deeply).") from None
    except ValueError as error:
        raise InputError(f"{source}: the file must hold a plan as JSON ({error}).") from None


def _problem_values(problem: Problem) -> dict[str, Any]:
    """Everything of a problem that a plan depends on; the digest stands for the network."""
    write_budget = problem.write_budget_bytes
    return {
        "network": {"name": problem.network.name, "digest": problem.network.digest},
        "target": _target_values(problem.target),
        "options": {
            "sram_bytes": problem.sram_bytes,
            "io": problem.io.value,
            "objective": problem.objective.value,
            "write_budget_bytes": write_budget,
            **_limit_values(problem),
        },
    }


def _limit_values(problem: Problem) -> dict[str, Any]:
    """Budgets of the other figures, the rate of lifetimes and the ring, where they are not the usual ones."""
    usual = problem.bare
    return {
        name: _encode(getattr(problem, name))
        for name in ("limits", "inferences_per_day")
        if getattr(problem, name) != getattr(usual, name)
    } | ({} if problem.scratch_ring_bytes is None else {"scratch_ring_bytes": problem.scratch_ring_bytes})


def _target_values(target: Target) -> dict[str, Any]:
    values: dict[str, Any] = _encode(target)
    return {name: value for name, value in values.items() if name != "provenance"}


def _digest(values: dict[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


# ------------------------------------------------------------------- values to JSON


def encoded(value: object) -> Any:
    """Dataclasses, tuples, sets and enums as JSON has them."""
    return _encode(value)


def _encode(value: Any) -> Any:
    if is_dataclass(value):
        return {field.name: _encode(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [_encode(item) for item in value]
    if isinstance(value, frozenset):
        return sorted(value)
    return value


# ------------------------------------------------------------------- JSON to values


def decoded(kind: Any, data: object) -> Any:
    """The value of type ``kind`` that `encoded` made; raises ValueError that names the place."""
    return _decode(kind, data, "")


def _decode(kind: Any, data: object, place: str) -> Any:
    """A value of type ``kind``; ``place`` says where in the document it stands."""
    if kind in _PLAIN:
        return _PLAIN[kind](data, place)
    if is_dataclass(kind):
        return _dataclass(kind, data, place)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _enum(kind, data, place)
    if get_origin(kind) is UnionType:
        return None if data is None else _decode(_without_none(kind), data, place)
    items = [_decode(part, item, f"{place}[{i}]") for i, (part, item) in enumerate(_parts(kind, data, place))]
    return get_origin(kind)(items)


def _without_none(kind: Any) -> Any:
    return next(part for part in get_args(kind) if part is not NoneType)


def _parts(kind: Any, data: object, place: str) -> list[tuple[Any, object]]:
    """Items of a list with the types they must have."""
    if not isinstance(data, list):
        raise _wrong(place, "a list", data)
    types = get_args(kind)
    if get_origin(kind) is frozenset or types[-1] is Ellipsis:
        return [(types[0], item) for item in data]
    if len(data) != len(types):
        raise ValueError(f"{place} must have {len(types)} items (got {len(data)})")
    return list(zip(types, data, strict=True))


def _dataclass(kind: Any, data: object, place: str) -> Any:
    content, hints = _object(data, place or "the document"), _hints(kind)
    prefix = f"{place}." if place else ""
    for name in sorted(content.keys() ^ hints.keys()):
        fault = "is not part of the format; remove it" if name in content else "is missing; add it"
        raise ValueError(f"{prefix}{name} {fault}")
    values = {name: _decode(hint, content[name], prefix + name) for name, hint in hints.items()}
    try:
        return kind(**values)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None


@cache
def _hints(kind: Any) -> dict[str, Any]:
    """Fields of a dataclass with their types."""
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


def _object(data: object, place: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise _wrong(place, "an object", data)
    return data


def _enum(kind: type[Enum], data: object, place: str) -> Enum:
    for member in kind:
        if member.value == data:
            return member
    raise _wrong(place, f"one of {', '.join(member.value for member in kind)}", data)


def _int(data: object, place: str) -> int:
    if type(data) is not int or abs(data) > _LARGEST:
        raise _wrong(place, "an integer below 2^63", data)
    return data


def _float(data: object, place: str) -> float:
    if type(data) not in (int, float) or not math.isfinite(data):  # type: ignore[arg-type]
        raise _wrong(place, "a number", data)
    return float(data)  # type: ignore[arg-type]


def _str(data: object, place: str) -> str:
    if not isinstance(data, str):
        raise _wrong(place, "a text", data)
    return data


def _bool(data: object, place: str) -> bool:
    if not isinstance(data, bool):
        raise _wrong(place, "true or false", data)
    return data


_LARGEST = 2**63 - 1
_PLAIN: dict[Any, Callable[[object, str], Any]] = {int: _int, float: _float, str: _str, bool: _bool}


def _wrong(place: str, due: str, data: object) -> ValueError:
    text = repr(data)
    return ValueError(f"{place} must be {due} (got {text if len(text) <= 40 else text[:37] + '...'})")
