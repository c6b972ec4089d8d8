"""Promotion: gates, then the ledger, then `previous`, then `champion`, so that no alias moves unrecorded."""

from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from sctransformer.errors import UserError
from sctransformer.export.bundle import read_bundle
from sctransformer.registry import ledger
from sctransformer.registry.gates import Evidence, check_gates, closed
from sctransformer.registry.ledger import Decision
from sctransformer.registry.lineage import utc_now, who
from sctransformer.registry.models import fetch, find_version
from sctransformer.registry.names import ALIASES, VERSION_TAGS
from sctransformer.registry.policy import Policy
from sctransformer.registry.references import Reference
from sctransformer.tracking.store import connect, one_sentence


@one_sentence
def promote(
    name: str, version: int, *, policy: Policy, first: bool = False, reason: str = "", dry_run: bool = False
) -> Decision:
    """Make a version the champion, if every gate lets it through.

    The decision, also a refusal, is written to the ledger before any alias moves. Promoting the champion again
    changes nothing and writes nothing.

    Args:
        name, version: of the registered model.
        policy: thresholds of the gates.
        first: there is no champion to compare with, and that is intended. Ignored when there is one.
        reason: kept in the ledger.
        dry_run: only ask the gates.

    Returns:
        The decision; `recorded` is False for a dry run, and for the version that is champion already.

    Raises:
        UserError: there is no such version, there is no champion and `first` was not given, or the store cannot be
            used.
    """
    client = connect(must_exist=True)
    candidate = find_version(client, Reference(name, version=version))
    champion = _champion(client, name)
    from_version = None if champion is None else int(champion.version)
    if from_version == version:
        return Decision(name, from_version, version, "promoted", reason, who(), utc_now(), recorded=False)
    if champion is None and not first and not dry_run:
        raise UserError(
            f"model {name!r} has no champion yet, so nothing can be compared; give --first if that is right."
        )

    compared = None if champion is None else _evidence(client, champion)
    gates = check_gates(_evidence(client, candidate), compared, policy)
    verdict: ledger.Verdict = "refused" if closed(gates) else "promoted"
    decision = Decision(name, from_version, version, verdict, reason, who(), utc_now(), gates, recorded=not dry_run)
    if dry_run:
        return decision
    entry = ledger.record(client, decision)
    if verdict == "promoted":
        if from_version is not None:
            client.set_registered_model_alias(name, ALIASES.previous, str(from_version))
        client.set_registered_model_alias(name, ALIASES.champion, str(version))
    ledger.close(client, entry)
    return decision


@one_sentence
def history(name: str) -> list[Decision]:
    """Every decision about a model, the newest first.

    Raises:
        UserError: there is no store, or nothing of that name was ever registered or decided.
    """
    client = connect(must_exist=True)
    found = ledger.decisions(client, Reference(name).name)
    if not found:
        client_knows = {model.name for model in client.search_registered_models()}
        if name not in client_knows:
            names = ", ".join(sorted(client_knows)) or "none"
            raise UserError(f"there is no model {name!r} (models: {names}).")
    return found


def _champion(client: MlflowClient, name: str) -> ModelVersion | None:
    if ALIASES.champion not in client.get_registered_model(name).aliases:
        return None
    return find_version(client, Reference(name, alias=ALIASES.champion))


def _evidence(client: MlflowClient, version: ModelVersion) -> Evidence:
    """What the gates look at. A bundle that cannot be had or read is damaged; a store that is gone is an error."""
    folder: Path | None = None
    try:
        folder = fetch(client, version).folder
        bundle = read_bundle(folder)
    except (UserError, OSError, ValueError, KeyError) as error:
        return Evidence(damage=str(error))
    except MlflowException as error:
        if error.error_code == "TEMPORARILY_UNAVAILABLE":
            raise
        return Evidence(damage=str(error.message).splitlines()[0])
    registered = version.tags.get(VERSION_TAGS.identity)
    if registered != bundle.identity:
        return Evidence(damage=f"{folder}: is not the bundle that was registered")
    return Evidence(metrics=bundle.metrics, parity=bundle.parity, lineage=bundle.lineage)
