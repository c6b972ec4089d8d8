"""Register the bundle in MLflow; a bundle that is registered already is not registered again."""

import dataclasses

from sctransformer import layout
from sctransformer.files import read_json, write_json
from sctransformer.params import load_params
from sctransformer.pipeline.stage import run_stage
from sctransformer.registry.registration import register_bundle


def main() -> None:
    """Run the stage."""
    params = load_params()
    run_id = read_json(layout.LINEAGE)["run_id"]
    registered = register_bundle(layout.BUNDLE_FOLDER, params.registration.name, run_id)
    content = dataclasses.asdict(registered)
    created = content.pop("created")
    write_json(layout.REGISTRATION, content)
    print(f"{registered.name}/{registered.version} {'registered' if created else 'was registered before'}")


if __name__ == "__main__":
    run_stage("register", main)
