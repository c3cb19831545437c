"""`adamss init`: a commented job spec, made from the spec's own fields and help texts."""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from service.cli.output import CliError, examples

if TYPE_CHECKING:
    from pydantic import BaseModel

EXAMPLES = examples(
    "adamss init                    writes spec.yaml",
    "adamss init my.yaml --task text-classification",
    "adamss init -                  prints it",
)
WIDTH = 100
# What a first spec says; every other field is there as a comment, with its default.
FIRST: dict[str, Any] = {
    "name": "my-first-job",
    "base_model": "minilm",
    "dataset": {"train": "ds_replacethiswithyours", "eval_fraction": 0.1, "text": "text", "label": "label"},
    "adamss": {
        "r": 100,
        "num_subspaces": 10,
        "subspace_rank": 1,
        "target_modules": ["query", "value"],
        "use_asa": True,
        "asa_target_subspaces": 60,
        "init_warmup": "auto",
        "final_warmup": "auto",
        "mask_interval": "auto",
    },
    "training": {
        "epochs": 2,
        "batch_size": 32,
        "learning_rate": 0.01,
        "head_learning_rate": 0.001,
        "seed": 0,
    },
    "artifacts": ["adapter", "lora", "merged"],
}
# PeftConfig's own fields: accepted so that an adapter_config.json can be pasted, of no use in a new spec.
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
    file: Annotated[Path, typer.Argument(help="File to write; - prints it.")] = Path("spec.yaml"),
    task: Annotated[str, typer.Option(help="What is to be learnt.")] = "text-classification",
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write a job spec to begin with: every field, with its meaning and default."""
    text = commented_spec(task)
    if str(file) == "-":
        sys.stdout.write(text)
        return
    if file.exists() and not force:
        raise CliError(f"{file} is there already. Choose another name, or overwrite it with --force.")
    file.write_text(text)
    print(f"{file} is written. Submit it: adamss jobs submit {file} --dataset FILE --watch")


def commented_spec(task: str) -> str:
    """The spec as YAML.

    Raises:
        CliError: there is no such task.
    """
    from adamss_core.spec import AdamssSpec, DatasetSpec, JobSpec, TrainingSpec

    tasks = get_args(JobSpec.model_fields["task"].annotation)
    if task not in tasks:
        raise CliError(f"--task: there is no task {task}. Use one of: {', '.join(tasks)}.")
    blocks: dict[str, type[BaseModel]] = {"dataset": DatasetSpec, "adamss": AdamssSpec, "training": TrainingSpec}
    first = {"name": FIRST["name"], "task": task} | FIRST
    lines = [
        "# A fine-tuning job. What is commented out shows the defaults. `adamss jobs submit FILE --dry-run` checks it.",
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
    """JSON is YAML; bare words read better where they mean the same."""
    if isinstance(value, str) and value.replace("-", "").replace("_", "").isalnum() and not value[0].isdigit():
        return (
            value
            if value.lower() not in ("yes", "no", "on", "off", "true", "false", "null", "y", "n")
            else json.dumps(value)
        )
    return json.dumps(value)
