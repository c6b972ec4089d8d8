"""Typed YAML files: read them, and say in one sentence what is wrong with one."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML, YAMLError

from sctransformer.errors import UserError, one_line


def read_yaml(path: Path, advice: str) -> Any:
    """Content of a YAML file; None if it holds nothing. YAML 1.2, which DVC writes too: `on` is a word.

    Args:
        path: of the file.
        advice: ends the sentence if it cannot be read, as in "run from the project's folder".

    Raises:
        UserError: it cannot be read or is not valid YAML.
    """
    try:
        return YAML(typ="safe", pure=True).load(path)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; {advice}.") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {advice}.") from error
    except (YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not valid YAML ({one_line(error)}).") from error


def first_problem(error: ValidationError) -> str:
    """The first thing that a check found, without a full stop: which field, what was found, what was expected."""
    first = error.errors()[0]
    field = ".".join(map(str, first["loc"]))
    if first["type"] == "missing":
        return f"{field} is missing"
    if first["type"] == "extra_forbidden":
        return f"{field} is unknown"
    if first["type"] == "value_error":  # of our own checks, which say what was found
        said = first["msg"].removeprefix("Value error, ")
        return f"{field}: {said}" if field else said
    return f"{field or 'the whole file'} is {first['input']!r}: {first['msg']}"
