"""Reading YAML files, and wording validation errors in one sentence."""

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from sctransformer.errors import UserError, one_line


def read_yaml(path: Path, advice: str) -> Any:
    """Read a YAML file; None if it is empty. YAML 1.2, as DVC writes it: `on` is text, not true.

    Args:
        path: the file.
        advice: what to do if it cannot be read, for the error message, for example "run from the project's folder".

    Raises:
        UserError: the file cannot be read or is not valid YAML.
    """
    from ruamel.yaml import YAML, YAMLError  # slow to import, and not needed by most commands

    try:
        return YAML(typ="safe", pure=True).load(path)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; {advice}.") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {advice}.") from error
    except RecursionError as error:
        raise UserError(f"{path}: is nested too deeply; {advice}.") from error
    except (YAMLError, UnicodeDecodeError, ValueError) as error:  # ValueError: a date such as 2024-13-01
        raise UserError(f"{path}: is not valid YAML ({one_line(error)}).") from error


def read_fields(path: Path, advice: str) -> dict[str, Any]:
    """Read a YAML file of named fields; an empty file has none.

    Raises:
        UserError: as `read_yaml`, or the file holds something else than fields.
    """
    content = read_yaml(path, advice)
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected `name: value` lines at the top, found {_kind(content)}; {advice}.")
    if unnamed := [key for key in content if not isinstance(key, str)]:
        raise UserError(f"{path}: the field name {unnamed[0]!r} is not text.")
    return content


def first_problem(error: ValidationError, kind: type[BaseModel] | None = None) -> str:
    """The first problem in words, without a full stop: which field, what was found, what was expected.

    Args:
        error: of pydantic.
        kind: the class that was checked; with it, an unknown field is answered with the most similar one.
    """
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"] if part != "[key]")
    if first["type"] == "missing":
        return f"{field} is missing"
    if first["type"] == "extra_forbidden":
        known = [] if kind is None else [".".join(names) for names in _fields_of(kind)]
        return f"{field} is unknown{nearest(field, known)}"
    if first["type"] == "value_error":  # raised by our own validators, whose messages are complete
        problem = first["msg"].removeprefix("Value error, ")
        return f"{field}: {problem}" if field else problem
    return f"{field or 'the whole file'} is {first['input']!r}: {first['msg']}"


def nearest(name: str, known: Iterable[str]) -> str:
    """The known dotted name that is most like a misspelt one, as the end of a sentence; empty if none is similar."""
    section, _, last = name.rpartition(".")
    known = list(known)
    elsewhere = [other for other in known if other.rpartition(".")[2] == last]
    beside = {other.rpartition(".")[2]: other for other in known if other.rpartition(".")[0] == section}
    similar = [beside[other] for other in difflib.get_close_matches(last, beside, n=1)]
    found = elsewhere or similar or difflib.get_close_matches(name, known, n=1, cutoff=0.8)
    return f"; the most similar name is {found[0]}" if found else ""


def _fields_of(kind: type[BaseModel], before: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The names of all fields in a file, those of sections included."""
    found: list[tuple[str, ...]] = []
    for name, field in kind.model_fields.items():
        path = (*before, field.serialization_alias or name)
        found.append(path)
        for inner in (field.annotation, *get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                found += _fields_of(inner, path)
    return found


def _kind(content: Any) -> str:
    return "a list" if isinstance(content, list) else f"{content!r}"
