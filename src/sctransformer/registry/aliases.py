"""The aliases champion, previous and candidate: reading them, and moving them in a safe order."""

from collections.abc import Callable

from mlflow import MlflowClient
from mlflow.entities.model_registry import RegisteredModel
from mlflow.exceptions import MlflowException

from sctransformer.registry.ledger import Decision
from sctransformer.registry.names import ALIASES


def aliases_of(client: MlflowClient, name: str) -> dict[str, int]:
    """Current aliases of a model, see `aliases_in`."""
    return aliases_in(client.get_registered_model(name))


def aliases_in(model: RegisteredModel) -> dict[str, int]:
    """Aliases of a model and their version numbers, which a server returns as text."""
    return {alias: int(version) for alias, version in sorted(model.aliases.items())}


def move(client: MlflowClient, decision: Decision, before_step: Callable[[], None]) -> None:
    """Move `previous`, then `champion`, to the versions of a decision.

    Args:
        client: of the store.
        decision: already written to the ledger.
        before_step: called before each of the two moves; an exception it raises stops there.
    """
    before_step()
    set_previous(client, decision.model, decision.previous_after)
    before_step()
    client.set_registered_model_alias(decision.model, ALIASES.champion, str(decision.to_version))


def set_previous(client: MlflowClient, name: str, version: int | None) -> None:
    """Set the alias `previous`, or remove it. A version that was deleted in the meantime is ignored."""
    now = aliases_of(client, name).get(ALIASES.previous)
    if now == version:
        return
    if version is None:
        client.delete_registered_model_alias(name, ALIASES.previous)
        return
    try:
        client.get_model_version(name, str(version))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return
    client.set_registered_model_alias(name, ALIASES.previous, str(version))
