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
    """Tags of a model version: its lineage outlives the run it came from, and the bundle."""

    identity: str = "bundle_identity"
    digest: str = "bundle_digest"
    """Of the whole bundle: SHA-256 of its checksums.txt. Versions of earlier releases have none."""
    lineage: str = "lineage"
    """The whole of lineage.json."""
    git_commit: str = "git_commit"
    git_dirty: str = "git_dirty"
    git_patch: str = "git_patch_sha256"
    dvc_lock: str = "dvc_lock_sha256"
    data: str = "data_sha256"
    prior: str = "prior_sha256"
    run_id: str = "run_id"
    who: str = "who"
    when: str = "when"
    macro_f1: str = "macro_f1"
    decision: str = "decision"
    """The last decision that made this version the champion: who, when, why."""
    overridden: str = "overridden_gates"
    """Gates that were closed when that decision was taken all the same."""


class _LedgerTags(NamedTuple):
    """Tags of a decision."""

    model: str = "model"
    number: str = "number"
    """1 for the first decision about a model, and so on: clocks of several machines give no order."""
    from_version: str = "from_version"
    to_version: str = "to_version"
    previous_before: str = "previous_before"
    previous_after: str = "previous_after"
    verdict: str = "verdict"
    reason: str = "reason"
    who: str = "who"
    when: str = "when"
    note: str = "note"
    digest: str = "bundle_digest"
    """Of the version that was decided about: its number may come to stand for another bundle."""
    policy: str = "policy"
    """Path of the policy whose gates were asked."""
    policy_sha256: str = "policy_sha256"
    gate: str = "gate."
    """Start of the tags that hold one gate each."""


ALIASES: Final = _Aliases()
VERSION_TAGS: Final = _VersionTags()
LEDGER_TAGS: Final = _LedgerTags()

LEDGER_EXPERIMENT: Final = "promotions"
LOCK_TAG: Final = "decision_lock."
"""Start of the tag of a registered model that a command sets while it decides."""
MODELS_EXPERIMENT: Final = "registrations"
"""Holds registered bundles that come without a run."""
LONGEST_DESCRIPTION: Final = 5000
"""Characters of a version's description that are kept."""
BUNDLE_ARTIFACT: Final = "bundle"
"""Name of the bundle among the artifacts of a registered model."""
