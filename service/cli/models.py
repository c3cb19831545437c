"""Command `adamss models`."""

from __future__ import annotations

from service.cli.output import Json, connect, print_table
from service.cli.terminal import put_json


def models(as_json: Json = False) -> None:
    """List the base models that jobs may use."""
    with connect() as client:
        base_models = client.models()
    if as_json:
        put_json(base_models)
        return
    rows = [
        [
            model["name"],
            model.get("model_type"),
            f"{model['parameters']:,}" if model.get("parameters") else None,
            ", ".join(model.get("tasks") or []),
            model.get("problem") or "",
        ]
        for model in base_models
    ]
    empty = "No base models. Put a folder with config.json, weights and tokenizer into the models folder."
    print_table(["NAME", "TYPE", "PARAMETERS", "TASKS", "PROBLEM"], rows, empty)
