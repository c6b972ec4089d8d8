"""The whole workflow on the example cells: run the pipeline, promote the model, annotate new cells, print a summary."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from sctransformer import layout, registry
from sctransformer._constants import BUNDLE
from sctransformer.errors import UserError, run_reporting
from sctransformer.files import atomic_write, read_json
from sctransformer.params import load_params
from sctransformer.pipeline.experiment import require_project, run_stages
from sctransformer.repository import git
from sctransformer.stopping import stoppable

if TYPE_CHECKING:
    from sctransformer.annotation.summary import AnnotationSummary
    from sctransformer.registry.gates import GateResult
    from sctransformer.registry.ledger import Decision

OUTDIR = Path("annotated")
DEMO_LOCK = Path(".dvc/tmp/demo.lock")
"""dvc.lock of the last demo."""


def main() -> None:
    """Run the workflow and print a summary."""
    started = time.perf_counter()
    with stoppable(), lock_of_the_commit():
        seconds = reproduce()
    name = load_params().registration.name

    # imported only now, so that the stages have the memory for themselves
    from sctransformer.annotation.pipeline import annotate_file
    from sctransformer.progress import cells_bar
    from sctransformer.registry.loading import load_model

    promotion_started = time.perf_counter()
    registered = registry.register(read_json(layout.LINEAGE)["run_id"], name=name)
    decision = registry.promote(f"{name}/{registered.version}", first=True, reason="make demo")
    seconds["promote"] = time.perf_counter() - promotion_started
    if decision.verdict == "refused" and decision.from_version is None:
        raise UserError(f"{name}/{registered.version} was refused: {'; '.join(failed_gates(decision.gates))}.")

    annotation_started = time.perf_counter()
    champion = load_model(f"{name}@champion")
    with cells_bar("annotating") as on_progress:
        annotation = annotate_file(champion, layout.NEW_CELLS, OUTDIR, on_progress=on_progress)
    seconds["annotate"] = time.perf_counter() - annotation_started
    seconds["total"] = time.perf_counter() - started
    print_summary(seconds, decision, f"{name}/{champion.version}", annotation)


def reproduce() -> dict[str, float]:
    """Run all stages of the pipeline.

    Returns:
        Duration in seconds of each stage that was run.

    Raises:
        UserError: a stage failed; it has printed why.
    """
    require_project()
    return run_stages({}, "report", {"PYTHONUNBUFFERED": "1"}).seconds


@contextmanager
def lock_of_the_commit() -> Iterator[None]:
    """Restore the committed dvc.lock afterwards, so that a demo leaves the git tree clean.

    The demo's own dvc.lock is kept in .dvc/tmp and used by the next demo, which then has nothing to do; other commands
    take the demo's results from DVC's cache. A dvc.lock that differs from the commit is not touched.
    """
    if not _lock_is_committed():
        yield
        return
    before, own = layout.LOCK.read_bytes(), DEMO_LOCK.read_bytes() if DEMO_LOCK.is_file() else None
    try:
        if own is not None:
            _write(layout.LOCK, own)
        yield
    finally:
        _write(DEMO_LOCK, layout.LOCK.read_bytes())
        _write(layout.LOCK, before)


def _lock_is_committed() -> bool:
    try:
        git(Path(), "ls-files", "--error-unmatch", "--", str(layout.LOCK))
        git(Path(), "diff", "--quiet", "HEAD", "--", str(layout.LOCK))
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def _write(path: Path, content: bytes) -> None:
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def failed_gates(gates: "list[GateResult]") -> list[str]:
    """One phrase per failed gate."""
    return [
        f"{gate.gate} ({gate.reason or f'{gate.value}, threshold {gate.threshold}'})"
        for gate in gates
        if not gate.passed
    ]


def outcome(decision: "Decision") -> str:
    """What the promotion decided, in a phrase."""
    model = f"{decision.model}/{decision.to_version}"
    if not decision.recorded:
        return f"{model} is already the champion"
    passed = sum(gate.passed for gate in decision.gates)
    return "; ".join(
        [f"{passed} of {len(decision.gates)} passed, {model} {decision.verdict}", *failed_gates(decision.gates)]
    )


def print_summary(
    seconds: dict[str, float], decision: "Decision", champion: str, annotation: "AnnotationSummary"
) -> None:
    """Print durations, metrics and where to find the results."""
    console = Console(highlight=False, soft_wrap=True)
    console.rule("sctransformer: from cells to annotated cells")
    console.print(stage_table(seconds))
    console.print(score_table(read_json(layout.METRICS)))
    if regulators := read_json(layout.BUNDLE_FOLDER / BUNDLE.metrics).get("regulators_by_type"):
        console.print(regulator_table(regulators))
    parity = read_json(layout.BUNDLE_FOLDER / BUNDLE.parity)
    console.print(
        f"parity     torch and onnxruntime agree on {parity['labels_equal']} of {parity['cells']} labels, "
        f"probabilities within {parity['max_probability_difference']:.0e}"
    )
    console.print(f"gates      {outcome(decision)}")
    console.print(f"champion   {champion}")
    console.print(f"annotated  {annotation.output} ({annotation.cells} cells, {annotation.rejected} unknown)")
    console.print(f"report     {layout.REPORT}: open it in a browser")
    console.print(f"plots      {layout.CONFUSION_PLOT}, {layout.EMBEDDING_PLOT}, {layout.CURVES}")
    console.print(f"Data Docs  {layout.DATA_DOCS / 'index.html'}")
    console.print("\nNext, after `source .venv/bin/activate`:", style="bold")
    console.print("  sctransformer train -S train.pretrain_lr=0.001   train another model, tracked")
    console.print(f"  sctransformer history {decision.model}                   show who promoted what, and why")
    console.print("  mlflow ui --backend-store-uri sqlite:///mlflow.db   show runs, metrics and models")


def stage_table(seconds: dict[str, float]) -> Table:
    """The duration of each stage that was run."""
    table = Table("stage", "seconds", box=None, header_style="bold")
    table.columns[1].justify = "right"
    for stage, duration in seconds.items():
        table.add_row(stage, f"{duration:.1f}")
    return table


def regulator_table(regulators: dict[str, Any]) -> Table:
    """The regulators whose activity is highest in each cell type."""
    table = Table("cell type", "most active regulators", box=None, header_style="bold")
    for name, found in regulators.items():
        table.add_row(name, ", ".join(one["regulator"] for one in found[:3]))
    return table


def score_table(metrics: dict[str, Any]) -> Table:
    """Scores of the model and of the baseline on the test cells, and the interval of their difference."""
    table = Table("test cells", "macro-F1", "accuracy", box=None, header_style="bold")
    for label, part in (("prior-biased Transformer", "test"), ("logistic regression", "baseline")):
        table.add_row(label, f"{metrics[part]['macro_f1']:.3f}", f"{metrics[part]['accuracy']:.3f}")
    versus = metrics["versus_baseline"]
    interval = f"{versus['difference']:+.3f} ({versus['low']:+.3f} to {versus['high']:+.3f}, 95 %)"
    table.add_row("difference of macro-F1", interval, "")
    return table


if __name__ == "__main__":
    run_reporting(main)
