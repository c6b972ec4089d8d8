"""Aliases, tags and experiments of the registry. Each is typed once, here."""

from typing import Final, NamedTuple


class _Aliases(NamedTuple):
    """Aliases of model versions."""

    candidate: str = "candidate"
    """The version that was registered last."""
    champion: str = "champion"
    """The version in use; moved by `promote` and `rollback` only."""
    previous: str = "previous"
    """The champion before the current one."""


class _VersionTags(NamedTuple):
    """Tags of a model version. They are kept when the run or the bundle is deleted."""

    identity: str = "bundle_identity"
    digest: str = "bundle_digest"
    """SHA-256 of the bundle's checksums.txt, and so of the whole bundle. Versions of earlier releases have none."""
    lineage: str = "lineage"
    """All of lineage.json."""
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
    """Gates that failed and were overridden in that decision."""


class _LedgerTags(NamedTuple):
    """Tags of a decision."""

    model: str = "model"
    number: str = "number"
    """1 for the first decision about a model, and so on: clocks of several machines cannot order decisions."""
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
    """Digest of the version that the decision is about: its number may later belong to another bundle."""
    policy: str = "policy"
    """Path of the policy whose gates were checked."""
    policy_sha256: str = "policy_sha256"
    gate: str = "gate."
    """Prefix of the tags with the result of one gate each."""


ALIASES: Final = _Aliases()
VERSION_TAGS: Final = _VersionTags()
LEDGER_TAGS: Final = _LedgerTags()

LEDGER_EXPERIMENT: Final = "promotions"
LOCK_TAG: Final = "decision_lock."
"""Prefix of the tag that a command sets on a registered model while it decides."""
MODELS_EXPERIMENT: Final = "registrations"
"""Experiment of registered bundles that have no run."""
LONGEST_DESCRIPTION: Final = 5000
"""Maximum number of characters of a version's description."""
BUNDLE_ARTIFACT: Final = "bundle"
"""Name of the bundle in the artifacts of a registered model."""
