"""`python -m pipelines.study`: run the study that a YAML file describes."""

from pipelines.study.command import main
from sctransformer.errors import run_reporting

if __name__ == "__main__":
    run_reporting(main)
