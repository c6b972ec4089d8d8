"""The model card: registry/model_card.md.j2 filled from what goes into a bundle."""

from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from sctransformer._constants import OBS
from sctransformer.errors import UserError


def render_card(
    template: Path,
    *,
    name: str,
    config: dict[str, Any],
    labels: pd.DataFrame,
    metrics: dict[str, Any],
    calibration: dict[str, Any],
    lineage: dict[str, Any],
    prior_edges: int,
    training_cells: int,
) -> str:
    """Fill the template.

    Figures of classes, intervals and the baseline are left out where `metrics` has none. How far onnxruntime is from
    torch is measured after the card is written, and stands in parity.json.

    Args:
        template: Markdown with Jinja2.
        name: of the model.
        config, labels, metrics, calibration, lineage: as in the bundle.
        prior_edges: edges among the vocabulary.
        training_cells: cells the weights were fitted to.

    Raises:
        UserError: the template is absent, is not valid, or uses a value that is not there.
    """
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    # A label may hold a character that ends a cell of a Markdown table.
    environment.filters["cell"] = lambda value: str(value).replace("|", "\\|").replace("\n", " ")
    environment.filters["three"] = lambda value: "not measured" if value is None else f"{value:.3f}"
    test, baseline = metrics.get("test") or {}, metrics.get("baseline") or {}
    classes = [
        {
            "name": row["name"],
            "term": row[OBS.ontology_term],
            "model": (test.get("per_class") or {}).get(row["name"]),
            "baseline": (baseline.get("per_class") or {}).get(row["name"]),
        }
        for row in labels.to_dict("records")
    ]
    try:
        return environment.from_string(template.read_text()).render(
            name=name,
            config=config,
            classes=classes,
            test=test,
            baseline=baseline,
            coverage=metrics.get("coverage") or {},
            prior_scales=metrics.get("prior_scales") or [],
            calibration=calibration,
            lineage=lineage,
            prior_edges=prior_edges,
            training_cells=training_cells,
        )
    except OSError as error:
        raise UserError(f"{template}: cannot be read ({error.strerror}); run from the project's folder.") from error
    except jinja2.TemplateSyntaxError as error:
        raise UserError(f"{template}: line {error.lineno} is not valid Jinja2 ({error.message}).") from error
    except jinja2.UndefinedError as error:
        raise UserError(f"{template}: {error.message}; the bundle does not hold what the template asks for.") from error
