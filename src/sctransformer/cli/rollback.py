"""`sctransformer rollback`: back to the previous champion."""

from typing import Annotated

import typer


def rollback(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the registered model.")],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Reason, kept in the ledger.")],
    to: Annotated[
        int | None,
        typer.Option(metavar="VERSION", help="A version that was champion before.", show_default="the previous one"),
    ] = None,
) -> None:
    """Make the previous champion the champion again; another rollback goes one step further back.

    \b
    sctransformer rollback celltype --reason "too many unknown cells in batch 12"
    sctransformer rollback celltype --to 3 --reason "the last one with the old panel"
    """  # noqa: D301  \b keeps typer from joining the lines
    from sctransformer import registry

    decision = registry.rollback(name, reason=reason, to=to)
    before = "there was none" if decision.from_version is None else f"it was {name}/{decision.from_version}"
    previous = "none" if decision.previous_after is None else f"{name}/{decision.previous_after}"
    print(f"{name}/{decision.to_version} is the champion again ({before}); previous is {previous}.")
