"""Command `adamss init`: a commented job spec, generated from the spec's fields and descriptions."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.output import CliError, examples
from service.cli.terminal import put, put_piece

if TYPE_CHECKING:
    from pydantic import BaseModel

    from adamss_core.spec import Preset

EXAMPLES = examples(
    "adamss init                       write spec.yaml",
    "adamss init my.yaml --task chat   also: text-pairs, regression, multi-label…",
    "adamss init -                     print the spec",
)
WIDTH = 100
# A first spec sets its preset and these fields; all other fields are comments with their defaults.
PRUNING: dict[str, Any] = {
    "use_asa": True,
    "asa_target_subspaces": 60,
    "init_warmup": "auto",
    "final_warmup": "auto",
    "mask_interval": "auto",
}
# PeftConfig's own fields: accepted so that an adapter_config.json can be pasted, useless in a new spec.
PASTED = frozenset(
    {
        "task_type",
        "peft_type",
        "auto_mapping",
        "peft_version",
        "base_model_name_or_path",
        "revision",
        "inference_mode",
    }
)


def init(
    file: Annotated[Path, typer.Argument(help="File to write; - for standard output.")] = Path("spec.yaml"),
    task: Annotated[
        str | None, typer.Option(help="A task or variant, such as regression or chat. Default: text classification.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write a job spec to start from: every field, with its meaning and default."""
    text = commented_spec(task)
    if str(file) == "-":
        put_piece(text)
        return
    if file.exists() and not force:
        raise CliError(f"{file} already exists. Choose another name, or overwrite it with --force.")
    file.write_text(text)
    put(f"Wrote {file}. Submit it: adamss jobs submit {file} --dataset FILE --watch")


def commented_spec(task: str | None) -> str:
    """Return the spec as YAML.

    Raises:
        CliError: no task or kind has this name.
    """
    from adamss_core.spec import AdamssSpec, DatasetSpec, JobSpec, TrainingSpec, all_presets

    presets = all_presets()
    preset = next((preset for preset in presets if task in (None, preset.name)), None)
    if preset is None:
        raise CliError(f"--task must be one of {', '.join(preset.name for preset in presets)}, but is '{task}'.")
    blocks: dict[str, type[BaseModel]] = {"dataset": DatasetSpec, "adamss": AdamssSpec, "training": TrainingSpec}
    first = first_values(preset)
    lines = [
        "# A fine-tuning job. Commented fields show their defaults. `adamss jobs submit FILE --dry-run` checks it.",
        "",
    ]
    for name, field in JobSpec.model_fields.items():
        if name in blocks:
            lines += [
                "",
                f"{name}:",
                *_fields(blocks[name], first[name], indent=2, leave_out=PASTED if name == "adamss" else frozenset()),
                "",
            ]
        else:
            lines += _field(name, field, first, indent=0)
    return "\n".join(lines).replace("\n\n\n", "\n\n").rstrip() + "\n"


def first_values(preset: Preset) -> dict[str, Any]:
    """Return the values of the spec that are not comments."""
    from adamss_core.spec.tasks import find_record

    record = find_record(preset.task, preset.problem_type)
    first: dict[str, Any] = {
        "name": "my-first-job",
        "task": preset.task,
        "base_model": record.default_base_model,
        "dataset": {"train": "ds_replacethiswithyours", "eval_fraction": 0.1} | preset.dataset,
        "adamss": preset.adamss | (PRUNING if record.starts_pruned else {}),
        "training": {"epochs": 2, "batch_size": 32} | preset.training | {"seed": 0},
        "artifacts": ["adapter", "lora", "merged"],
    }
    return first if preset.problem_type is None else first | {"problem_type": preset.problem_type}


def _fields(model: type[BaseModel], first: dict[str, Any], indent: int, leave_out: frozenset[str]) -> list[str]:
    lines: list[str] = []
    for name, field in model.model_fields.items():
        if name not in leave_out:
            lines += _field(name, field, first, indent)
    return lines


def _field(name: str, field: Any, first: dict[str, Any], indent: int) -> list[str]:
    margin = " " * indent
    help_text = " ".join((field.description or "").split())
    lines = textwrap.wrap(help_text, WIDTH, initial_indent=f"{margin}# ", subsequent_indent=f"{margin}# ")
    if name in first:
        return [*lines, f"{margin}{name}: {_yaml(first[name])}"]
    return [*lines, f"{margin}# {name}: {_yaml(field.get_default(call_default_factory=True))}"]


def _yaml(value: Any) -> str:
    """Encode a value as JSON, which is YAML, or as a bare word where that has the same meaning."""
    if isinstance(value, str) and value.replace("-", "").replace("_", "").isalnum() and not value[0].isdigit():
        return (
            value
            if value.lower() not in ("yes", "no", "on", "off", "true", "false", "null", "y", "n")
            else json.dumps(value)
        )
    return json.dumps(value, default=lambda block: block.model_dump(mode="json"))
