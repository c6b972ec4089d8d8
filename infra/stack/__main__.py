"""`python -m infra.stack`: up, down, status, env, backup, restore. `make stack` is `up`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from infra.stack.backup import back_up
from infra.stack.backup import restore as restore_backup
from infra.stack.processes import stop
from infra.stack.services import ORDER, health, start_mlflow
from infra.stack.services import down as stop_all
from infra.stack.services import up as start_all
from infra.stack.settings import open_stack
from sctransformer.errors import run_reporting

Folder = Annotated[Path, typer.Option(envvar="STACK_FOLDER", help="Folder with everything of the stack.")]
DEFAULT = Path(".stack")

app = typer.Typer(help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)


@app.command()
def up(folder: Folder = DEFAULT, ray: Annotated[bool, typer.Option(help="Start a Ray head, too.")] = True) -> None:
    """Start all services that are not running, and print how to use them."""
    stack = open_stack(folder)
    start_all(stack, ORDER if ray else ORDER[:3])
    print(f"MLflow      {stack.url}  (user admin, password in {stack.folder / 'secrets.env'})")
    print(f"S3          {stack.s3_url}")
    print(f"PostgreSQL  127.0.0.1:{stack.ports.postgres}")
    if ray:
        print(f"Ray         127.0.0.1:{stack.ports.ray}, http://127.0.0.1:{stack.ports.ray_dashboard}")
    print(f'To use it:  eval "$(python -m infra.stack env --folder {folder})"')


@app.command()
def down(folder: Folder = DEFAULT) -> None:
    """Stop all services; the data are kept."""
    print(f"stopped: {', '.join(stop_all(open_stack(folder))) or 'nothing was running'}")


@app.command()
def status(folder: Folder = DEFAULT) -> None:
    """Check every service; the exit code is 1 if one does not respond."""
    found = health(open_stack(folder))
    for name, well in found.items():
        print(f"{name:10} {'ok' if well else 'does not respond'}")
    sys.exit(0 if all(found.values()) else 1)


@app.command()
def env(folder: Folder = DEFAULT) -> None:
    """Print the environment variables for users of the stack, including the password."""
    for name, value in open_stack(folder).client_environment().items():
        print(f"export {name}={value}")


@app.command()
def backup(target: Path, folder: Folder = DEFAULT) -> None:
    """Back up databases and artifacts to a new folder; the stack may be in use."""
    print(f"{target}: {back_up(open_stack(folder), target)} objects and the databases")


@app.command()
def restore(source: Path, folder: Folder = DEFAULT) -> None:
    """Restore a backup over the current data; the MLflow server is stopped meanwhile."""
    stack = open_stack(folder)
    stop("mlflow", stack.folder)
    print(f"{source}: {restore_backup(stack, source)} objects and the databases are restored")
    start_mlflow(stack)


if __name__ == "__main__":
    run_reporting(lambda: app(standalone_mode=True))
