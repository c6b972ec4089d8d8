"""The part of this package that a served model imports, and that is therefore saved with it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import sctransformer

PACKAGE = Path(sctransformer.__file__).parent


def imported_files(start: Path, subpackages: tuple[str, ...]) -> set[Path]:
    """The files of this package that a file imports, directly or through others, also inside functions.

    Args:
        start: a file of Python code.
        subpackages: subpackages whose modules are followed; modules beside them always are.
    """
    found: set[Path] = set()
    waiting = [start]
    while waiting:
        for name in _imports(waiting.pop()):
            parts = name.split(".")[1:]
            if len(parts) > 1 and parts[0] not in subpackages:
                continue
            for length in range(len(parts) + 1):  # importing a module imports the packages that it is in
                path = _file(parts[:length])
                if path is not None and path not in found:
                    found.add(path)
                    waiting.append(path)
    return found


def _imports(file: Path) -> Iterator[str]:
    """Names of modules of this package, and of what is imported from them, which may be modules too."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == sctransformer.__name__)


def _file(parts: list[str]) -> Path | None:
    """The file of a module; None if there is no such module."""
    path = PACKAGE.joinpath(*parts)
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return path if path.is_file() else None
