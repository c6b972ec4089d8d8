"""The scorecard of a network as one HTML page that works offline."""

from importlib.resources import files
from pathlib import Path

import jinja2

from sctransformer import charts
from sctransformer._constants import BEATS_SHUFFLES
from sctransformer.evaluation.prior_score import Scorecard
from sctransformer.files import atomic_write

TEMPLATE = Path(str(files("sctransformer.evaluation") / "prior_score.html.j2"))


def write_page(target: Path, card: Scorecard, network: str, summary: str) -> None:
    """Write the page, atomically; names of files, genes and populations are escaped.

    Args:
        target: the HTML file.
        card: what was measured.
        network: name of the network.
        summary: size of the network, and the cells, in a sentence without full stop.
    """
    measurements = [
        one.summary() | {"chart": charts.among(one.network, one.shuffled, one.without_network)}
        for one in card.measurements
    ]
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    text = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        network=network,
        summary=summary,
        shuffles=len(card.measurements[0].shuffled),
        measurements=measurements,
        evidence=sorted(card.evidence.items(), key=lambda pair: (-pair[1], pair[0])),
        beat=sum(value >= BEATS_SHUFFLES for value in card.evidence.values()),
        limit=BEATS_SHUFFLES,
    )
    with atomic_write(target) as temporary:
        temporary.write_text(text, encoding="utf-8")
