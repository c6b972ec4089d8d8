"""Checks of the registry: leftovers of interrupted commands, aliases that do not match the ledger, damaged bundles."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from mlflow import MlflowClient
from mlflow.entities import LifecycleStage
from mlflow.exceptions import MlflowException

from sctransformer.errors import UserError
from sctransformer.registry import ledger
from sctransformer.registry.aliases import aliases_of
from sctransformer.registry.evidence import evidence_of
from sctransformer.registry.ledger import Decision
from sctransformer.registry.lock import exclusive, holders, release_dead
from sctransformer.registry.models import bundle_of, find_version, require_model
from sctransformer.registry.names import ALIASES, LEDGER_EXPERIMENT, VERSION_TAGS
from sctransformer.registry.recovery import settle
from sctransformer.registry.references import Reference
from sctransformer.tracking.location import database_file, redact_credentials, tracking_uri
from sctransformer.tracking.relocation import former_folder, relocate
from sctransformer.tracking.store import connect, one_sentence
from sctransformer.wording import counted

State = Literal["ok", "problem", "repaired"]


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    subject: str
    state: State
    sentence: str
    """What was found, and how to fix a problem."""


@one_sentence
def examine_registry(name: str | None = None, repair: bool = False) -> list[Finding]:
    """Check one model, or all that were registered from bundles.

    Args:
        name: of a model; None for all.
        repair: finish or undo open decisions, remove locks of dead commands, and record artifacts where they are now if
            the project was copied or moved.

    Raises:
        UserError: the store or the model does not exist, or the store cannot be used.
    """
    moved = list(_relocation(repair))
    client = connect(must_exist=True)
    if name is not None:
        require_model(client, name)
    names = [name] if name is not None else _models(client)
    findings = [
        Finding(
            "store", "ok", f"{redact_credentials(client.tracking_uri)} responds; models: {', '.join(names) or 'none'}"
        )
    ]
    findings += [*moved, *_ledger_experiment(client)]
    for one in names:
        findings += _of_model(client, one, repair)
    return findings


def _relocation(repair: bool) -> Iterator[Finding]:
    """Whether a SQLite store records its artifacts in the folder that the project was copied or moved from."""
    database = database_file(tracking_uri())
    if database is None or not database.exists():
        return
    former = relocate(database) if repair else former_folder(database)
    if former is None:
        return
    if repair:
        yield Finding("store", "repaired", f"recorded artifacts in {former}; now those in {database.parent}.")
    else:
        yield Finding(
            "store",
            "problem",
            f"records its artifacts in {former}, because the project was copied or moved from there; --repair records "
            f"those in {database.parent}.",
        )


def _models(client: MlflowClient) -> list[str]:
    """Models with at least one version that holds a bundle; others in the store are ignored."""
    names, token = [], None
    while True:
        page = client.search_registered_models(page_token=token)
        names += [model.name for model in page]
        token = page.token
        if not token:
            break
    return sorted(
        name
        for name in names
        if any(
            VERSION_TAGS.identity in version.tags
            for version in client.search_model_versions(f"name = '{_quoted(name)}'")
        )
    )


def _quoted(name: str) -> str:
    return name.replace("'", "\\'")


def _ledger_experiment(client: MlflowClient) -> Iterator[Finding]:
    experiment = client.get_experiment_by_name(LEDGER_EXPERIMENT)
    if experiment is not None and experiment.lifecycle_stage == LifecycleStage.DELETED:
        yield Finding(
            "ledger",
            "problem",
            f"the experiment {LEDGER_EXPERIMENT!r} was deleted, so no decision can be recorded; restore it in MLflow.",
        )


def _of_model(client: MlflowClient, name: str, repair: bool) -> list[Finding]:
    findings = [*_locks(client, name, repair), *_open(client, name, repair)]
    decisions = ledger.decisions(client, name)
    aliases = aliases_of(client, name)
    findings += [*_champion(client, name, aliases), *_entries(client, name, decisions)]
    for alias in ALIASES:
        if alias in aliases:
            findings.append(_bundle(client, name, alias))
    if not any(finding.state == "problem" for finding in findings):
        listed = ", ".join(f"{alias} = {version}" for alias, version in aliases.items()) or "no aliases"
        findings.append(Finding(name, "ok", f"{listed}; {counted(len(decisions), 'decision')} in the ledger"))
    return findings


def _locks(client: MlflowClient, name: str, repair: bool) -> Iterator[Finding]:
    if repair:
        for holder in release_dead(client, name):
            yield Finding(name, "repaired", f"removed the lock of {holder}, whose process has ended.")
    for holder in holders(client, name):
        alive = holder.process.is_alive()
        if alive is False:
            yield Finding(
                name, "problem", f"{holder} died while it held the lock; the next decision, or --repair, removes it."
            )
        elif alive is None:
            yield Finding(
                name,
                "problem",
                f"{holder} holds the lock; if that command has ended, the next decision waits for the lease to expire.",
            )


def _open(client: MlflowClient, name: str, repair: bool) -> Iterator[Finding]:
    left = [decision for decision in ledger.decisions(client, name) if decision.outcome == "open"]
    if left and repair:
        with exclusive(client, name):
            for decision in settle(client, name):
                yield Finding(name, "repaired", f"decision {decision.number}: {decision.note or 'closed'}.")
        return
    for decision in left:
        yield Finding(
            name,
            "problem",
            f"decision {decision.number} ({decision.verdict} {name}/{decision.to_version}, {decision.who}, "
            f"{decision.when}) was written but not carried out completely; the next decision, or --repair, finishes or "
            "undoes it.",
        )


def _champion(client: MlflowClient, name: str, aliases: dict[str, int]) -> Iterator[Finding]:
    decisions = ledger.standing(client, name)
    if any(decision.outcome == "open" for decision in decisions):
        return  # reported already, and the aliases may be half moved
    champion = aliases.get(ALIASES.champion)
    stack = ledger.champions(decisions)
    known = stack[-1] if stack else None
    if champion == known:
        return
    if champion is None:
        yield Finding(
            name,
            "problem",
            f"has no champion: {name}/{known} was deleted or lost its alias; go back with `sctransformer "
            f"rollback {name} --reason ...`, or promote another version.",
        )
        return
    recorded = "records none" if known is None else f"records {name}/{known}"
    existing = {int(version.version) for version in client.search_model_versions(f"name = '{name}'")}
    passed = [version for version in stack if version in existing and version != champion]
    back = f", or go back with `sctransformer rollback {name} --to {passed[-1]} --reason ...`" if passed else ""
    yield Finding(
        name,
        "problem",
        f"champion is {name}/{champion}, but the ledger {recorded}: the alias was moved by hand; check the "
        f"gates with `sctransformer promote {name}/{champion}{'' if passed else ' --first'}`{back}.",
    )


def _entries(client: MlflowClient, name: str, decisions: list[Decision]) -> Iterator[Finding]:
    strays = ledger.strays(client, name)
    for stray in strays:
        yield Finding(
            name,
            "problem",
            f"run {stray.entry} of the experiment {LEDGER_EXPERIMENT!r} is not a readable decision ({stray.why}); "
            "restore its tags, or delete it in MLflow if it never was one.",
        )
    for decision in decisions:
        if decision.unreadable:
            yield Finding(
                name,
                "problem",
                f"decision {decision.number} (run {decision.entry}): {', '.join(decision.unreadable)} cannot be read "
                "because it was edited; restore it from a backup.",
            )
    numbers = [decision.number for decision in decisions]
    lost = [stray.number for stray in strays if stray.number is not None]
    absent = sorted(set(range(1, max(numbers, default=0) + 1)) - {*numbers, *lost})
    if absent:
        gone = ", ".join(map(str, absent))
        yield Finding(name, "problem", f"decisions {gone} are missing from the ledger; restore them from a backup.")
    repeated = sorted({number for number in numbers if number and numbers.count(number) > 1})
    if repeated:
        yield Finding(name, "problem", f"decisions {', '.join(map(str, repeated))} are in the ledger more than once.")


def _bundle(client: MlflowClient, name: str, alias: str) -> Finding:
    try:
        damage = evidence_of(bundle_of(client, find_version(client, Reference(name, alias=alias)))).damage
    except (UserError, MlflowException) as error:
        damage = str(error)
    if damage:
        return Finding(f"{name}@{alias}", "problem", damage)
    return Finding(f"{name}@{alias}", "ok", "its bundle matches its checksums")
