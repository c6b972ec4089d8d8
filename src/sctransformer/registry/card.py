"""The model card: registry/model_card.md.j2 filled with the contents of a bundle, as Markdown and as HTML."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from sctransformer._constants import BUNDLE, CELLXGENE_FIELDS, OBS
from sctransformer.charts import markdown_page
from sctransformer.errors import UserError
from sctransformer.evaluation.paired import NEGLIGIBLE
from sctransformer.registry.names import BUNDLE_ARTIFACT

_MOST_VALUES = 8
_ALWAYS = ("organism", "tissue")
"""Fields on every card: the intended use is the same species and tissue."""
_SECTIONS = ("data", "prepare", "prior", "model", "train")
"""Sections of params.yaml shown on the card."""
_NOT_STATED = "not stated"
_NOT_DESCRIBED = ("_id", OBS.donor, "is_primary_data")
_REST = (
    f"\n\n*The rest of the card is `{BUNDLE.card}` in the folder `{BUNDLE_ARTIFACT}` of this version's artifacts.*\n"
)


def described(obs: pd.DataFrame) -> dict[str, list[str]]:
    """The most frequent values of the CELLxGENE fields (organism, tissue, ...) of the cells."""
    fields = [
        name for name in CELLXGENE_FIELDS if name in obs and not any(name.endswith(part) for part in _NOT_DESCRIBED)
    ]
    found = {name: obs[name].astype(str).value_counts() for name in fields}
    return {
        name: [*counts.index[:_MOST_VALUES], *(["..."] if len(counts) > _MOST_VALUES else [])]
        for name, counts in found.items()
        if len(counts)
    }


def renamed(card: str, name: str) -> str:
    """The card with the name under which the model is registered, in its title and in its code lines."""
    title, _, rest = card.partition("\n")
    old = title.removeprefix("# ").strip()
    if not title.startswith("# ") or not old or old == name:
        return card
    for before in ("models:/", "-m ", "report "):
        rest = rest.replace(f"{before}{old}@", f"{before}{name}@")
    return f"# {name}\n{rest}"


def shortened(card: str, longest: int) -> str:
    """Markdown cut after a complete section, with a note on where the rest is."""
    if len(card) <= longest:
        return card
    kept = card[: longest - len(_REST)]
    boundaries = (kept.rfind(mark) for mark in ("\n## ", "\n\n", " "))
    return kept[: next((place for place in boundaries if place > 0), len(kept))].rstrip() + _REST


def card_page(card: str, name: str, plots: Sequence[tuple[str, Markup]] = ()) -> str:
    """The card as one self-contained HTML page, see `markdown_page`."""
    return markdown_page(card, f"{name}: model card", plots)


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
    described: Mapping[str, Sequence[str]] = MappingProxyType({}),
    dataset: Mapping[str, str | None] = MappingProxyType({}),
) -> str:
    """Fill the template.

    Per-class scores, intervals and the baseline are omitted if `metrics` has none. The parity of onnxruntime and torch
    is measured after the card is written; parity.json has it.

    Args:
        template: Markdown with Jinja2.
        name: of the model.
        config, labels, metrics, calibration, lineage: as in the bundle.
        prior_edges: number of edges between genes of the panel.
        training_cells: number of cells that the weights were fitted to.
        described: metadata of the cells, see `described`.
        dataset: entry of the catalogue, see `data.catalogue.Dataset`: url, citation, license, description,
            organism.

    Raises:
        UserError: the template does not exist, is not valid, or uses an unknown value.
    """
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    # A label may contain a character that ends a cell of a Markdown table.
    environment.filters["cell"] = lambda value: str(value).replace("|", "\\|").replace("\n", " ")
    environment.filters["range"] = lambda value: f" ({value[0]:.3f} to {value[1]:.3f})" if value else ""
    environment.filters["link"] = lambda value: f"<{value}>" if str(value).startswith("http") else f"`{value}`"
    environment.filters["three"] = lambda value: "not measured" if value is None else f"{value:.3f}"
    test, baseline, control = (metrics.get(part) or {} for part in ("test", "baseline", "control"))
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
            versus=metrics.get("versus_baseline") or {},
            coverage=metrics.get("coverage") or {},
            prior_scales=metrics.get("prior_scales") or [],
            calibration=calibration,
            lineage=lineage,
            prior_edges=prior_edges,
            training_cells=training_cells,
            described=_with_blanks(described, dataset),
            dataset=dataset,
            parameters=_parameters(lineage.get("params") or {}),
            control=control,
            regulators=metrics.get("regulators") or {},
            regulators_by_type=metrics.get("regulators_by_type") or {},
            refit=metrics.get("refit"),
            label_choice=metrics.get("labels") or {},
            network_decides_nothing=config.get("direction") != "targets"
            and (control.get("changed_labels_share") or 0.0) < NEGLIGIBLE,
        )
    except OSError as error:
        raise UserError(f"{template}: cannot be read ({error.strerror}); run from the project's folder.") from error
    except jinja2.TemplateSyntaxError as error:
        raise UserError(f"{template}: line {error.lineno} is not valid Jinja2 ({error.message}).") from error
    except jinja2.UndefinedError as error:
        raise UserError(f"{template}: {error.message}; the bundle does not contain what the template uses.") from error


def _with_blanks(described: Mapping[str, Sequence[str]], dataset: Mapping[str, str | None]) -> dict[str, Sequence[str]]:
    """Metadata of the cells, fields of every card first; values from the cells take precedence over the catalogue."""
    always = {field: described.get(field) or [dataset.get(field) or _NOT_STATED] for field in _ALWAYS}
    return always | {field: values for field, values in described.items() if field not in always}


def _parameters(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters by dotted name."""
    seed = {"seed": params["seed"]} if "seed" in params else {}
    sections = {section: params.get(section) for section in _SECTIONS}
    return seed | {
        f"{section}.{name}": value
        for section, values in sections.items()
        if isinstance(values, Mapping)
        for name, value in values.items()
    }
