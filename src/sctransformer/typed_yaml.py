"""Reading YAML files, and wording validation errors in one sentence."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

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
    except (YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not valid YAML ({one_line(error)}).") from error


def first_problem(error: ValidationError) -> str:
    """The first problem in words, without a full stop: which field, what was found, what was expected."""
    first = error.errors()[0]
    field = ".".join(map(str, first["loc"]))
    if first["type"] == "missing":
        return f"{field} is missing"
    if first["type"] == "extra_forbidden":
        return f"{field} is unknown"
    if first["type"] == "value_error":  # raised by our own validators, whose messages are complete
        problem = first["msg"].removeprefix("Value error, ")
        return f"{field}: {problem}" if field else problem
    return f"{field or 'the whole file'} is {first['input']!r}: {first['msg']}"
