"""DVC with the parameters of one run: `python -m sctransformer.pipeline.dvc_process repro export`.

Takes the arguments of `dvc`. Where `PARAMS_VARIABLE` names a file, DVC reads that file in place of params.yaml, as the
stages do, so that params.yaml itself is never written: a run that is killed leaves nothing behind.
"""

import os
import sys
from pathlib import Path
from typing import Any

from sctransformer.params import PARAMS, PARAMS_VARIABLE


def read_in_place_of_params(file: Path) -> None:
    """Let DVC in this process read another file wherever it would read params.yaml."""
    from dvc.utils.serialize import LOADERS

    params, suffix = PARAMS.resolve(), PARAMS.suffix
    load = LOADERS[suffix]

    def load_run(path: Any, fs: Any = None, **options: Any) -> Any:
        if Path(os.fspath(path)).resolve() == params:
            return load(str(file), fs=None, **options)
        return load(path, fs=fs, **options)

    LOADERS[suffix] = load_run


def main() -> None:
    """Run the program `dvc`."""
    from dvc.cli import main as run_dvc

    if file := os.environ.get(PARAMS_VARIABLE):
        read_in_place_of_params(Path(file))
    sys.exit(run_dvc(sys.argv[1:]))


if __name__ == "__main__":
    main()
