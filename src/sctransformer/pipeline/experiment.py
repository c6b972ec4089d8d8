"""Training as a run of the pipeline: from parameters to a trained, evaluated and exported model."""

import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flatten_dict import flatten

from sctransformer import layout
from sctransformer.errors import UserError
from sctransformer.files import read_json
from sctransformer.params import PARAMS_VARIABLE, Params, load_params, parse_overrides, with_values
from sctransformer.pipeline.overrides import expanded
from sctransformer.pipeline.stage import TIMINGS_VARIABLE, read_timings
from sctransformer.processes import run_interruptible
from sctransformer.registry.lineage import commit_command
from sctransformer.repository import prepare_dvc, require_commit
from sctransformer.tracking.relocation import require_own_artifacts
from sctransformer.tracking.source import code_state
from sctransformer.training.resume import NAME_VARIABLE, OVERRIDES_VARIABLE, RESUME_VARIABLE, find_resumable_run

LAST_STAGE = "export"
"""A training ends with a bundle that is measured but not registered."""
TRAIN_STAGE, BEFORE_TRAINING = "train", "prior"
_WITHOUT_GIT = (
    "Note: this folder is not in a git repository. Models record a digest of the code in place of a commit; "
    "`git init && git add -A && git commit -m start` changes that."
)


@dataclass(frozen=True)
class PipelineRun:
    """What a run of the pipeline did."""

    seconds: dict[str, float]
    """Duration of each stage that was run; the others were up to date, or their results were in DVC's cache."""

    @property
    def trained(self) -> bool:
        """Whether a model was trained."""
        return TRAIN_STAGE in self.seconds


def train(
    overrides: Mapping[str, object] | Iterable[str] | None = None,
    *,
    name: str | None = None,
    resume: str | None = None,
    force: bool = False,
) -> str:
    """Train, evaluate and export with the parameters of params.yaml, as one MLflow run.

    Stages whose inputs have not changed are not run again. Call it in the project's folder.

    Args:
        overrides: parameters that differ from params.yaml in this run, by dotted name; `data` takes the name of a
            dataset in the catalogue, `prior` the name of a network. `name=value` words are accepted too. params.yaml is
            not changed.
        name: of the run, any text.
        resume: an interrupted run to resume from its last checkpoint, with the parameters it was started with: its
            ID, the start of its ID, or its name.
        force: train also if the same training is in DVC's cache.

    Returns:
        The ID of the MLflow run that trained the model in outputs/bundle.

    Raises:
        UserError: a stage failed, a parameter does not exist, or the run cannot be resumed.

    Examples:
        >>> train({"train.pretrain_lr": 3e-4, "data": "mine"}, name="small lr")  # doctest: +SKIP
    """
    require_project()
    values = expanded(overrides if isinstance(overrides, Mapping) else parse_overrides(overrides or ()))
    environment = {}
    params = load_params()
    if resume is not None:
        run_id, previous_name, before = _interrupted(params, resume)
        environment[RESUME_VARIABLE] = run_id
        name, values = name or previous_name, before | values
    if name:
        environment[NAME_VARIABLE] = name
    note_uncommitted(with_values(params, values))
    done = run_stages(values, LAST_STAGE, environment, force=force)
    run_id = str(read_json(layout.LINEAGE)["run_id"])
    _print_outcome(done, run_id)
    return run_id


def run_stages(
    overrides: Mapping[str, Any], last_stage: str, environment: Mapping[str, str] | None = None, force: bool = False
) -> PipelineRun:
    """Run the stages up to the last one with overrides that hold for this run only.

    Args:
        overrides: parameters that differ from params.yaml, by dotted name.
        last_stage: the stage to end with.
        environment: variables for the stages, on top of those of this process.
        force: run the stage `train` whether or not its result is known.

    Raises:
        UserError: a parameter does not exist or is out of range, or a stage failed.
    """
    commands = [["repro", last_stage]]
    if force:
        commands = [["repro", BEFORE_TRAINING], ["repro", "--force", "--single-item", TRAIN_STAGE], *commands]
    with _parameters(overrides) as variables, tempfile.TemporaryDirectory() as folder:
        timings = Path(folder) / "timings.jsonl"
        # The stages call `python`: make sure that it is this one.
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        variables |= {"PATH": path, "DVC_NO_ANALYTICS": "1", TIMINGS_VARIABLE: str(timings)}
        for command in commands:
            program = [sys.executable, "-m", "sctransformer.pipeline.dvc_process", *command]
            if run_interruptible(program, {**os.environ, **variables, **(environment or {})}):
                raise UserError("a stage of the pipeline failed; see the error above.")
        return PipelineRun(read_timings(timings))


def require_project() -> bool:
    """Check that the current folder is that of a project, and that DVC can work in it.

    Returns:
        Whether the project is in a git repository. Without one, a note explains what the lineage records instead.

    Raises:
        UserError: it has no dvc.yaml, or its git repository has no commit or belongs to another user.
    """
    if not Path("dvc.yaml").is_file():
        raise UserError("dvc.yaml: no such file here; run from the project's folder.")
    from sctransformer.tracking.location import database_file, tracking_uri  # MLflow takes seconds to import

    database = database_file(tracking_uri())
    if database is not None and database.exists():
        require_own_artifacts(database)
    tracked = prepare_dvc()
    if tracked:
        require_commit()
    else:
        print(_WITHOUT_GIT, file=sys.stderr)
    return tracked


def note_uncommitted(params: Params) -> None:
    """Name the files that a model with these parameters would be made from and that are not committed."""
    state = code_state(Path(), params.inputs())
    if state.files:
        command = commit_command(file.path for file in state.files)
        print(
            f"Note: not committed: {', '.join(map(str, state.files))}. A model made from these files passes the gate "
            f"lineage_clean once they are committed unchanged: {command}"
        )


@contextmanager
def _parameters(overrides: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """Variables that let DVC and the stages read params.yaml with the overrides, from a temporary file."""
    if not overrides:
        yield {}
        return
    content = with_values(load_params(), overrides).model_dump(mode="json")
    with tempfile.TemporaryDirectory(prefix="sctransformer-") as folder:
        file = Path(folder) / "params.yaml"
        file.write_text(json.dumps(content))  # JSON is YAML
        yield {PARAMS_VARIABLE: str(file), OVERRIDES_VARIABLE: json.dumps(overrides, default=str)}


def _print_outcome(done: PipelineRun, run_id: str) -> None:
    seconds = {stage: f"{duration:.0f} s" for stage, duration in done.seconds.items()}
    if done.trained:
        print(f"Trained by run {run_id[:8]}: " + ", ".join(f"{stage} {time}" for stage, time in seconds.items()) + ".")
        print("Next: `sctransformer register` makes its model the candidate.")
    else:
        print(
            f"Nothing was trained: run {run_id[:8]} has trained with the same cells, network, code and parameters; "
            "`sctransformer train --force` trains again."
        )


def _interrupted(params: Params, wanted: str) -> tuple[str, str, dict[str, Any]]:
    """ID and name of an interrupted run, and overrides that restore the parameters it was started with."""
    from sctransformer.tracking.queries import finished_run  # MLflow takes seconds to import

    try:
        _, run = find_resumable_run(params.train.storage, wanted)
    except UserError as error:
        finished = finished_run(wanted)
        if finished is not None:
            raise UserError(f"run {wanted!r} has finished ({finished}); there is nothing to resume.") from error
        raise
    now = flatten(params.model_dump(mode="json"), "dot")
    then = flatten(run.params, "dot")
    return run.run_id, run.name, {name: value for name, value in then.items() if now.get(name) != value}
