"""Write the page to explore the training, and keep it with the run."""

from sctransformer import layout
from sctransformer.files import read_json
from sctransformer.pipeline.stage import run_stage
from sctransformer.reports.page import write_page
from sctransformer.reports.training import OUTPUTS, report_of_outputs
from sctransformer.tracking import outbox


def main() -> None:
    """Run the stage."""
    write_page(layout.REPORT, report_of_outputs(OUTPUTS))
    outbox.log_artifact(read_json(layout.LINEAGE)["run_id"], layout.REPORT)
    print(f"{layout.REPORT}: open it in a browser")


if __name__ == "__main__":
    run_stage("report", main)
