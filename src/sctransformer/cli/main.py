"""The program `sctransformer`: its commands, and how they report errors."""

import errno
import functools
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from sctransformer import __version__
from sctransformer.caches import use_writable_caches
from sctransformer.errors import DEBUG_VARIABLE, INTERRUPTED, UNEXPECTED, UserError, debugging, printable
from sctransformer.stopping import stoppable

_LONGEST_PATH = 80
"""Characters shown of a path that is too long."""
_RESUMED = "annotate"
"""The command that resumes when it is repeated; `train` says itself how its run is resumed."""
VERBS = (
    # command, module, function; `--help` imports all of these modules, so they import nothing slow at the top
    ("data check", "sctransformer.cli.data", "check"),
    ("data simulate", "sctransformer.cli.simulate", "simulate"),
    ("data add", "sctransformer.cli.catalogue", "add"),
    ("data list", "sctransformer.cli.catalogue", "list_datasets"),
    ("data show", "sctransformer.cli.catalogue", "show"),
    ("prior build", "sctransformer.cli.prior", "build"),
    ("prior coverage", "sctransformer.cli.prior", "coverage"),
    ("prior compare", "sctransformer.cli.prior_compare", "compare"),
    ("prior score", "sctransformer.cli.prior_score", "score"),
    ("prior fetch", "sctransformer.cli.prior", "fetch"),
    ("prior shuffle", "sctransformer.cli.prior", "shuffle"),
    ("prior holdout", "sctransformer.cli.prior", "holdout"),
    ("train", "sctransformer.cli.train", "train"),
    ("runs", "sctransformer.cli.runs", "runs"),
    ("tune", "sctransformer.cli.tune", "tune"),
    ("verify", "sctransformer.cli.verify", "verify"),
    ("register", "sctransformer.cli.register", "register"),
    ("promote", "sctransformer.cli.promote", "promote"),
    ("compare", "sctransformer.cli.compare", "compare"),
    ("rollback", "sctransformer.cli.rollback", "rollback"),
    ("history", "sctransformer.cli.history", "history"),
    ("doctor", "sctransformer.cli.doctor", "doctor"),
    ("annotate", "sctransformer.cli.annotate", "annotate"),
    ("explain", "sctransformer.cli.explain", "explain"),
    ("simulate", "sctransformer.cli.knockout", "simulate"),
    ("report", "sctransformer.cli.report", "report"),
    ("batch run", "sctransformer.cli.batch", "run"),
    ("batch status", "sctransformer.cli.batch", "status"),
    ("batch render", "sctransformer.cli.batch", "render"),
    ("drift report", "sctransformer.cli.drift", "report"),
    ("lineage", "sctransformer.cli.lineage", "lineage"),
)
PANELS = {
    # section of the root help: its commands and groups, in order
    "Data and networks": ("data", "prior"),
    "Train": ("train", "runs", "tune"),
    "Registry": ("register", "promote", "compare", "rollback", "history", "lineage"),
    "Annotate": ("annotate", "explain", "simulate", "report"),
    "Batch jobs": ("batch", "drift"),
    "Maintenance": ("verify", "doctor"),
}
GROUPS = {
    "batch": "Scheduled annotation: run a job, show its history, write files for a scheduler.",
    "drift": "Batches of a job compared with the training cells of its model.",
    "data": "Datasets: check cells, add them to the catalogue, show them.",
    "prior": "Prior networks: build, compare, and measure how well they cover and describe your cells.",
}


class _InOrder(TyperGroup):
    """Lists commands and groups in the order of PANELS."""

    def list_commands(self, ctx: Any) -> list[str]:
        order = [name for names in PANELS.values() for name in names]
        return sorted(super().list_commands(ctx), key=order.index)


def run(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the program; exits with the exit code of the command.

    Args:
        arguments: without the name of the program; None for those of the process.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    options = words[: words.index("--")] if "--" in words else words
    if "--debug" in options:  # accepted anywhere, not only before the command
        os.environ[DEBUG_VARIABLE] = "1"
        words.remove("--debug")
    use_writable_caches()
    with stoppable():
        _application(words)(words)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sctransformer {__version__}")
        raise typer.Exit


def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks (accepted after the command, too).")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    if debug:
        os.environ[DEBUG_VARIABLE] = "1"


def reporting(verb: Callable[..., None]) -> Callable[..., None]:
    """Let a command fail with one sentence on standard error and an exit code; with --debug, with a traceback."""

    @functools.wraps(verb)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            verb(*args, **kwargs)
        except (typer.Exit, typer.Abort, typer.BadParameter, BrokenPipeError):
            raise
        except KeyboardInterrupt as error:
            if verb.__name__ == _RESUMED:
                _leave("Interrupted; to go on, run the same command again.", INTERRUPTED, error)
            raise typer.Exit(INTERRUPTED) from error
        except UserError as error:
            if debugging():
                raise
            _leave(f"Error: {error}", error.exit_code, error)
        except OSError as error:
            if debugging():
                raise
            if error.errno != errno.ENAMETOOLONG:
                _leave_unexpected(error)
            name = f"{str(error.filename)[:_LONGEST_PATH]}..."
            _leave(f"Error: {name}: is too long for the name of a file; give a shorter path.", 1, error)
        except Exception as error:
            if debugging():
                raise
            _leave_unexpected(error)

    return wrapped


def _leave_unexpected(error: Exception) -> NoReturn:
    _leave(f"Unexpected error: {type(error).__name__}: {error}; run again with --debug.", UNEXPECTED, error)


def _leave(sentence: str, code: int, cause: BaseException) -> NoReturn:
    typer.echo(printable(sentence), err=True)
    raise typer.Exit(code) from cause


def _help(verb: Callable[..., None]) -> str:
    r"""A docstring as help text: paragraphs flow, except those after `\b`, which typer prints unchanged."""
    paragraphs = (inspect.getdoc(verb) or "").replace(r"\b", "\b").split("\n\n")
    return "\n\n".join(
        text.removeprefix("\b\n") if text.startswith("\b") else text.replace("\n", " ") for text in paragraphs
    )


def _application(words: Sequence[str]) -> typer.Typer:
    """The program with the command that a command line names; with all commands where it names none."""
    app = typer.Typer(
        name="sctransformer",
        cls=_InOrder,
        help="The prior-biased Transformer for single-cell RNA-seq, from versioned data to scheduled annotation.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    groups = {name: typer.Typer(help=text, no_args_is_help=True) for name, text in GROUPS.items()}
    for command, module, function in _named(words) or VERBS:
        *group, name = command.split()
        verb = getattr(importlib.import_module(module), function)
        panel = None if group else _panel(name)
        (groups[group[0]] if group else app).command(name, help=_help(verb), rich_help_panel=panel)(reporting(verb))
    for name, group_app in groups.items():
        app.add_typer(group_app, name=name, rich_help_panel=_panel(name))
    return app


def _panel(name: str) -> str:
    return next(panel for panel, names in PANELS.items() if name in names)


def _named(words: Sequence[str]) -> list[tuple[str, str, str]]:
    """The command that a command line starts with: the others need not be imported."""
    return [verb for verb in VERBS if verb[0].split() == list(words[: len(verb[0].split())])]


if __name__ == "__main__":
    run()
