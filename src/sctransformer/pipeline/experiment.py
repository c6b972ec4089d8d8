"""Training as a DVC experiment: from parameters to a trained, evaluated and exported model."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from flatten_dict import flatten

from sctransformer import layout
from sctransformer.errors import UserError, one_line
from sctransformer.files import read_json
from sctransformer.params import load_params
from sctransformer.pipeline.overrides import expanded, from_mapping, override
from sctransformer.processes import run_interruptible
from sctransformer.repository import in_git, prepare_dvc, require_commit
from sctransformer.training.resume import NAME_VARIABLE, RESUME_VARIABLE, find_resumable_run

LAST_STAGE = "export"
"""An experiment ends with a bundle that is measured but not registered."""
PARAMS = "params.yaml"
_WITHOUT_GIT = (
    "Note: this folder is not in a git repository. Models record a digest of the code in place of a commit, and "
    "`dvc exp` has no list of experiments; `git init && git add -A && git commit -m start` changes that."
)


def train(
    overrides: Mapping[str, object] | Sequence[str] | None = None, *, name: str | None = None, resume: str | None = None
) -> str:
    """Train, evaluate and export with the parameters of params.yaml, as a DVC experiment and an MLflow run.

    Stages whose inputs have not changed are not run again. Call it in the project's folder.

    Args:
        overrides: parameters to change, by dotted name; `data` takes the name of a dataset in the catalogue, `prior`
            the name of a network. A sequence holds overrides in DVC's grammar.
        name: of the run, any text.
        resume: an interrupted run to resume from its last checkpoint, with the parameters it was started with: its
            ID, the start of its ID, or its name.

    Returns:
        The ID of the MLflow run that trained the model in outputs/bundle.

    Raises:
        UserError: a stage failed, a parameter does not exist, or the run cannot be resumed.

    Examples:
        >>> train({"train.lr": 3e-4, "data": "mine"}, name="small lr")  # doctest: +SKIP
    """
    require_project()
    texts = from_mapping(overrides) if isinstance(overrides, Mapping) else list(overrides or [])
    texts, environment = expanded(texts), {}
    if resume is not None:
        run_id, previous_name, before = _interrupted(resume)
        environment[RESUME_VARIABLE] = run_id
        name, texts = name or previous_name, [*before, *texts]
    elif name:
        environment[NAME_VARIABLE] = name
    run_stages(texts, LAST_STAGE, name, environment)
    return str(read_json(layout.LINEAGE)["run_id"])


def run_stages(
    overrides: Iterable[str], last_stage: str, name: str | None = None, environment: Mapping[str, str] | None = None
) -> None:
    """Run the stages up to the last one as a DVC experiment.

    Args:
        overrides: of parameters, in DVC's grammar.
        last_stage: the stage to end with.
        name: of the experiment, any text; DVC gets the characters that git allows.
        environment: variables for the stages, on top of those of this process.

    Raises:
        UserError: the experiment failed.
    """
    texts = list(overrides)
    if in_git(Path()):
        arguments = ["exp", "run", *(f"--set-param={text}" for text in texts)]
        if name and (allowed := experiment_name(name)):
            arguments.append(f"--name={allowed}")
    else:  # experiments of DVC are commits of git
        set_params(texts)
        arguments = ["repro"]
    # The stages call `python`: make sure that it is this one.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    variables = {**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1", **(environment or {})}
    if run_interruptible([sys.executable, "-m", "dvc", *arguments, last_stage], variables):
        raise UserError("the experiment failed; see the error above.")


def set_params(overrides: Sequence[str]) -> None:
    """Set parameters in params.yaml, as `dvc exp run --set-param` does.

    Raises:
        UserError: an override is not in DVC's grammar, or a parameter does not exist.
    """
    from dvc.exceptions import DvcException  # slow
    from dvc.utils.hydra import apply_overrides

    if not overrides:
        return
    try:
        apply_overrides(PARAMS, list(overrides))
    except DvcException as error:
        raise UserError(f"{PARAMS}: {one_line(error)}.") from error


def experiment_name(name: str, unique: bool = True) -> str:
    """The name with the characters that git allows; with the time appended if it must be unique and is taken."""
    allowed = re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-")
    if not unique:
        return allowed
    taken = subprocess.run(
        ["git", "for-each-ref", "--format=%(refname)", "refs/exps"], capture_output=True, text=True, check=False
    )
    names = {line.rsplit("/", maxsplit=1)[-1] for line in taken.stdout.splitlines()}
    return f"{allowed}-{time.strftime('%Y%m%d-%H%M%S')}" if allowed in names else allowed


def require_project() -> bool:
    """Check that the current folder is that of a project, and that DVC can work in it.

    Returns:
        Whether the project is in a git repository. Without one, a note explains what the lineage records instead.

    Raises:
        UserError: it has no dvc.yaml, or its git repository has no commit or belongs to another user.
    """
    if not Path("dvc.yaml").is_file():
        raise UserError("dvc.yaml: no such file here; run from the project's folder.")
    tracked = prepare_dvc()
    if tracked:
        require_commit()
    else:
        print(_WITHOUT_GIT, file=sys.stderr)
    return tracked


def _interrupted(wanted: str) -> tuple[str, str, list[str]]:
    """ID and name of an interrupted run, and overrides that restore the parameters it was started with."""
    from sctransformer.tracking.queries import finished_run  # MLflow takes seconds to import

    params = load_params()
    try:
        _, run = find_resumable_run(params.train.storage, wanted)
    except UserError as error:
        finished = finished_run(wanted)
        if finished is not None:
            raise UserError(f"run {wanted!r} has finished ({finished}); there is nothing to resume.") from error
        raise
    now = flatten(params.model_dump(mode="json"), "dot")
    then = flatten(run.params, "dot")
    return run.run_id, run.name, [override(name, value) for name, value in then.items() if now.get(name) != value]
