"""Aliases, tags and experiments of the registry. Each is typed once, here."""

from typing import Final, NamedTuple


class _Aliases(NamedTuple):
    """What a version of a model may be called."""

    candidate: str = "candidate"
    """The version registered last."""
    champion: str = "champion"
    """The version that labels cells; moved by `promote` alone."""
    previous: str = "previous"
    """The champion before the champion."""


class _VersionTags(NamedTuple):
    """Tags of a model version: its lineage outlives the run it came from."""

    identity: str = "bundle_identity"
    git_commit: str = "git_commit"
    git_dirty: str = "git_dirty"
    dvc_lock: str = "dvc_lock_sha256"
    data: str = "data_sha256"
    prior: str = "prior_sha256"
    run_id: str = "run_id"
    macro_f1: str = "macro_f1"


class _LedgerTags(NamedTuple):
    """Tags of a decision."""

    model: str = "model"
    from_version: str = "from_version"
    to_version: str = "to_version"
    verdict: str = "verdict"
    reason: str = "reason"
    who: str = "who"
    when: str = "when"
    gate: str = "gate."
    """Start of the tags that hold one gate each."""


ALIASES: Final = _Aliases()
VERSION_TAGS: Final = _VersionTags()
LEDGER_TAGS: Final = _LedgerTags()

LEDGER_EXPERIMENT: Final = "promotions"
MODELS_EXPERIMENT: Final = "registrations"
"""Holds registered bundles that come without a run."""
BUNDLE_ARTIFACT: Final = "bundle"
"""Name of the bundle among the artifacts of a registered model."""
