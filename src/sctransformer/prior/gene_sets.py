"""Gene sets named after regulators (GMT files) as networks."""

import re
from pathlib import Path

import pandas as pd

from sctransformer.errors import UserError
from sctransformer.prior.network import Network, repaired
from sctransformer.prior.regulon_names import regulon_name
from sctransformer.prior.repairs import Repairs
from sctransformer.prior.tables import is_symbol, truncated

_SIGNS = (
    (re.compile(r"[ _](?:up|activated|activating)$", re.IGNORECASE), 1),
    (re.compile(r"[ _](?:dn|down|repressed|repressing)$", re.IGNORECASE), -1),
)


def regulator_and_sign(name: str) -> tuple[str, int]:
    """Regulator and sign from the name of a gene set.

    `Irf1(+)` and `IRF1_up` activate, `Irf1(-)` and `IRF1_dn` repress; without such an ending the sign is 0 (unknown).
    Other endings of SCENIC are removed, see `regulon_name`.
    """
    name, named = regulon_name(name)
    if named:
        return name, named
    for pattern, sign in _SIGNS:
        if pattern.search(name):
            return regulon_name(pattern.sub("", name))[0], sign
    return name, 0


def gmt_network(path: Path, text: str, source: str) -> Network:
    """Network from the text of a GMT file.

    A line holds the regulator's name, a description, and its targets, separated by tabs. Each edge has confidence 1.

    Raises:
        UserError: a line has no target or holds an invalid gene symbol; the message names the line.
    """
    regulators: list[str] = []
    targets: list[str] = []
    set_signs: list[int] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        name, *rest = (field.strip() for field in line.split("\t"))
        genes = rest[1:]
        while genes and not genes[-1]:
            genes.pop()
        if not genes:
            raise UserError(
                f"{path}: line {number} ({truncated(name)}) has no target; expected a regulator, a description and "
                "targets, separated by tabs."
            )
        regulator, sign = regulator_and_sign(name)
        bad = next((gene for gene in (regulator, *genes) if not is_symbol(gene)), None)
        if bad is not None:
            raise UserError(
                f"{path}: line {number} ({truncated(name)}) holds {truncated(bad)}; expected a gene symbol."
            )
        regulators += [regulator] * len(genes)
        targets += genes
        set_signs += [sign] * len(genes)
    lines = pd.DataFrame(
        {"regulator": regulators, "target": targets, "sign": set_signs, "confidence": 1.0, "sources": source}
    )
    return repaired(lines, str(path), Repairs(format="gmt"))
