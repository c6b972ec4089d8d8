"""A progress bar for verbs that go through many cells."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def cells_bar(what: str | Callable[[], str]) -> Iterator[Callable[[int, int], None]]:
    """Show cells done, cells a second and the time left, on standard error and only on a terminal.

    Gives a function to call with the cells done and the cells there are. The bar goes away at the end.

    Args:
        what: is done; a function where that changes.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Speed(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text("" if task.speed is None else f"{task.speed:,.0f} cells/s")

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Speed(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        text = what if callable(what) else lambda: what
        task = progress.add_task(text(), total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total, description=text())


@contextmanager
def status_line(what: str) -> Iterator[None]:
    """Show a spinner with a text while something takes seconds, on standard error and only on a terminal."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(Text(what)):
        yield


@contextmanager
def bytes_bar(what: str, size: Callable[[], int] | None = None) -> Iterator[Callable[[], None]]:
    """Show that work is running, and the bytes so far, on standard error and only on a terminal.

    Yields a function to call several times a second.

    Args:
        what: description of the work.
        size: gives the bytes so far; None shows the elapsed time only.
    """
    from rich.console import Console
    from rich.progress import (
        DownloadColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TransferSpeedColumn,
    )

    sizes = () if size is None else (DownloadColumn(), TransferSpeedColumn())
    columns = (SpinnerColumn(), TextColumn("{task.description}"), *sizes, TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=None)
        yield lambda: progress.update(task, completed=0 if size is None else size())
