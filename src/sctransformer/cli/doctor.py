"""`sctransformer doctor`: find problems of programs and registry, and say how to fix them."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sctransformer.registry.doctor import Finding


def doctor(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Name of a registered model.", show_default="all models")
    ] = None,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Finish or undo decisions of interrupted commands, and remove their locks; after the project was "
            "copied or moved, record the artifacts of this folder.",
        ),
    ] = False,
) -> None:
    """Check programs, store, ledger, aliases and bundles. The exit code is 1 if there is a problem.

    Without --repair nothing is changed.
    """
    from rich.console import Console
    from rich.markup import escape

    findings = [*_programs(), *_registry(name, repair)]
    console = Console(highlight=False, soft_wrap=True)
    colours = {"ok": "green", "problem": "red", "repaired": "yellow"}
    for finding in findings:
        state = f"[{colours[finding.state]}]{finding.state:8}[/]"
        console.print(f"{state} {escape(finding.subject)}: {escape(finding.sentence)}")
    if any(finding.state == "problem" for finding in findings):
        raise typer.Exit(1)


def _registry(name: str | None, repair: bool) -> "list[Finding]":
    from sctransformer.errors import UserError
    from sctransformer.registry.doctor import Finding, examine_registry

    try:
        return examine_registry(name, repair)
    except UserError as error:  # the findings about programs are shown all the same
        return [Finding("registry", "problem", str(error))]


def _programs() -> "list[Finding]":
    import shutil

    from sctransformer.annotation.session import usable_runtime
    from sctransformer.errors import UserError
    from sctransformer.registry.doctor import Finding

    findings = []
    try:
        runtime = usable_runtime()
        providers = ", ".join(runtime.get_available_providers())
        findings.append(Finding("onnxruntime", "ok", f"{runtime.__version__}, {providers}"))
    except UserError as error:
        findings.append(Finding("onnxruntime", "problem", str(error)))
    if shutil.which("git") is None:
        findings.append(Finding("git", "problem", "is not installed, so no commit can be recorded; install it."))
    return findings
