"""`adamss models`."""

from __future__ import annotations

from service.cli.output import Json, connect, print_json, print_table


def models(as_json: Json = False) -> None:
    """List the base models that jobs may use."""
    with connect() as client:
        found = client.models()
    if as_json:
        print_json(found)
        return
    names = [
        name for name in ("name", "id", "source", "model_type", "revision") if any(name in model for model in found)
    ]
    empty = "No base models. Put a folder with config.json, weights and tokenizer into the models folder."
    print_table([name.upper() for name in names], [[model.get(name) for name in names] for model in found], empty)
