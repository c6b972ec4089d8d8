"""The whole road on the example cells: `dvc repro`, a recorded promotion, annotation of new cells, a summary."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from sctransformer import layout
from sctransformer.errors import UserError, run_reporting
from sctransformer.files import read_json
from sctransformer.params import load_params
from sctransformer.pipeline.stage import TIMINGS_VARIABLE

if TYPE_CHECKING:
    from sctransformer.annotation.summary import AnnotationSummary
    from sctransformer.registry.gates import GateResult
    from sctransformer.registry.ledger import Decision

OUTDIR = Path("annotated")


def main() -> None:
    """Run the road and print what came out."""
    started = time.perf_counter()
    seconds = reproduce()
    name = load_params().registration.name

    # imported now: while the stages ran they had the memory for themselves
    from sctransformer.annotation.pipeline import annotate_file
    from sctransformer.export.bundle import read_bundle
    from sctransformer.progress import cells_bar
    from sctransformer.registry.models import register_bundle, resolve
    from sctransformer.registry.policy import load_policy
    from sctransformer.registry.promotion import promote

    begun = time.perf_counter()
    registered = register_bundle(layout.BUNDLE_FOLDER, name, read_json(layout.LINEAGE)["run_id"])
    policy = load_policy(layout.POLICY)
    decision = promote(
        name,
        registered.version,
        policy=policy,
        policy_file=layout.POLICY,
        first=True,
        reason="make demo",
        cells=layout.TEST_CELLS_FILE,
    )
    seconds["promote"] = time.perf_counter() - begun
    if decision.verdict == "refused" and decision.from_version is None:
        raise UserError(f"{name}/{registered.version} was refused: " + "; ".join(reasons(decision.gates)))

    begun = time.perf_counter()
    champion = resolve(f"{name}@champion")
    with cells_bar("annotating") as on_progress:
        annotation = annotate_file(
            read_bundle(champion.folder),
            f"{name}@champion",
            str(champion.version),
            layout.NEW_CELLS,
            OUTDIR,
            on_progress=on_progress,
        )
    seconds["annotate"] = time.perf_counter() - begun
    summary(seconds, time.perf_counter() - started, decision, str(champion), annotation)


def reproduce() -> dict[str, float]:
    """Run `dvc repro`; seconds of each stage that ran.

    Raises:
        UserError: a stage failed (its own sentence stands above).
    """
    with tempfile.TemporaryDirectory() as folder:
        timings = Path(folder) / "timings.jsonl"
        timings.touch()
        environment = {**os.environ, TIMINGS_VARIABLE: str(timings), "PYTHONUNBUFFERED": "1"}
        done = subprocess.run([sys.executable, "-m", "dvc", "repro"], env=environment, check=False)
        if done.returncode:
            raise UserError(f"dvc repro ended with exit code {done.returncode}; see above.")
        lines = [json.loads(line) for line in timings.read_text().splitlines()]
    return {line["stage"]: line["seconds"] for line in lines}


def reasons(gates: "list[GateResult]") -> list[str]:
    """One phrase for each closed gate."""
    return [
        f"{gate.gate} ({gate.reason or f'{gate.value}, threshold {gate.threshold}'})"
        for gate in gates
        if not gate.passed
    ]


def verdict(decision: "Decision") -> str:
    """What was decided, in a phrase."""
    if not decision.recorded:
        return f"{decision.model}/{decision.to_version} was champion already"
    opened = sum(gate.passed for gate in decision.gates)
    told = f"{opened} of {len(decision.gates)} open, {decision.model}/{decision.to_version} {decision.verdict}"
    return "; ".join([told, *reasons(decision.gates)])


def summary(
    seconds: dict[str, float], total: float, decision: "Decision", champion: str, annotation: "AnnotationSummary"
) -> None:
    """Print the figures a person wants after the road, and where everything is."""
    console = Console(highlight=False, soft_wrap=True)
    metrics, parity = read_json(layout.METRICS), read_json(layout.BUNDLE_FOLDER / "parity.json")
    console.rule("sctransformer: the whole road")

    stages = Table("stage", "seconds", box=None, header_style="bold")
    stages.columns[1].justify = "right"
    for stage, taken in seconds.items():
        stages.add_row(stage, f"{taken:.1f}")
    stages.add_row("all", f"{total:.1f}")
    console.print(stages)

    scores = Table("test cells", "macro-F1", "accuracy", box=None, header_style="bold")
    for label, part in (("prior-biased Transformer", "test"), ("logistic regression", "baseline")):
        scores.add_row(label, f"{metrics[part]['macro_f1']:.3f}", f"{metrics[part]['accuracy']:.3f}")
    console.print(scores)
    console.print(
        f"parity     torch and onnxruntime agree on {parity['labels_equal']} of {parity['cells']} labels, "
        f"probabilities within {parity['max_probability_difference']:.0e}"
    )
    console.print(f"gates      {verdict(decision)}")
    console.print(f"champion   {champion}")
    console.print(f"annotated  {annotation.output} ({annotation.cells} cells, {annotation.rejected} unknown)")
    console.print(f"figures    {layout.CONFUSION_PLOT}, {layout.UMAP_PLOT}, {layout.CURVES}")
    console.print(f"Data Docs  {layout.DATA_DOCS / 'index.html'}")
    console.print("\nNext, after `source .venv/bin/activate`:", style="bold")
    console.print("  sctransformer train -S train.lr=0.0005           another run, tracked")
    console.print(f"  sctransformer history {decision.model}                   who promoted what, and why")
    console.print("  mlflow ui --backend-store-uri sqlite:///mlflow.db   runs, figures, models")


if __name__ == "__main__":
    run_reporting(main)
