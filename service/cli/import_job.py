"""Command `adamss import`: a job of another tool as a job spec."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli.foreign_jobs import Translation, from_llamafactory, from_openai
from service.cli.output import CliError, examples
from service.cli.terminal import put, put_piece

EXAMPLES = examples(
    "adamss import openai-job.json --base-model qwen2.5-0.5b   write spec.yaml",
    "adamss import llamafactory.yaml -                         print the spec",
)


def import_job(
    file: Annotated[
        Path,
        typer.Argument(
            exists=True,
            dir_okay=False,
            help="A fine-tuning job of OpenAI as JSON, or a training file of LLaMA-Factory as YAML.",
        ),
    ],
    out: Annotated[Path, typer.Argument(help="Spec to write; - for standard output.")] = Path("spec.yaml"),
    base_model: Annotated[str | None, typer.Option(help="Base model, in the place of the one that is named.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the spec.")] = False,
) -> None:
    """Translate a job of OpenAI or LLaMA-Factory into a job spec; list what has no counterpart."""
    import yaml

    made = translated(_read(file), base_model)
    _check(made)
    text = yaml.safe_dump(made.spec, sort_keys=False, allow_unicode=True)
    for name, reason in made.left_out.items():
        put(f"{name}: {reason}.", err=True)
    if str(out) == "-":
        put_piece(text)
        return
    if out.exists() and not force:
        raise CliError(f"{out} already exists. Choose another name, or overwrite it with --force.")
    out.write_text(text, encoding="utf-8")
    put(f"Wrote {out}. Submit it: adamss jobs submit {out} --dataset FILE --watch")


def translated(job: dict[str, Any], base_model: str | None) -> Translation:
    """Translate a job of a tool that is known by its settings.

    Raises:
        CliError: it is of another tool, or a value has another type.
    """
    from adamss_core.spec.tasks.text_generation import NAME, TRAINING

    try:
        if "model_name_or_path" in job:
            return from_llamafactory(job, base_model, NAME)
        if "model" in job and "training_file" in job:
            return from_openai(job, base_model, NAME, TRAINING)
    except (TypeError, ValueError, AttributeError) as error:
        raise CliError(f"A value of the file has another type than its tool writes: {error}.") from error
    raise CliError(
        "The file is neither a job of OpenAI (with model and training_file) nor a training file of LLaMA-Factory (with "
        "model_name_or_path)."
    )


def _read(file: Path) -> dict[str, Any]:
    import yaml

    try:
        job = yaml.safe_load(file.read_text(encoding="utf-8"))  # JSON is YAML
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CliError(f"{file} cannot be read: {' '.join(str(error).split())[:200]}.") from error
    if not isinstance(job, dict):
        raise CliError(f"{file} holds no object of settings.")
    return job


def _check(made: Translation) -> None:
    """Refuse a spec that the service would refuse for its shape; a model's name is left to the user."""
    from pydantic import ValidationError

    from adamss_core.spec import JobSpec

    try:
        JobSpec.model_validate(made.spec)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        if name == "base_model":
            made.left_out["base_model"] = f"{made.spec['base_model']!r} is no name of a model here: use --base-model"
            return
        raise CliError(f"The translated {name} is not valid: {first['msg']}.") from error
