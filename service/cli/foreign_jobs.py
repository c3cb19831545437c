"""Translate jobs of other tools into job specs, and say of each setting that has no counterpart why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

Settings = Mapping[str, Any]
TRAIN = "ds_replacethiswithyours"  # until `adamss jobs submit --dataset` names the uploaded file
RATE_FACTOR = 10  # AdaMSS wants about ten times LoRA's rate
UPLOAD = "upload the file: `adamss jobs submit SPEC --dataset FILE`"


@dataclass
class Translation:
    """A spec in the making, and what could not be translated.

    Attributes:
        left_out: setting -> the reason.
    """

    spec: dict[str, Any]
    left_out: dict[str, str] = field(default_factory=dict)

    def put(self, block: str, name: str, value: Any) -> None:
        """Set a field of the spec, where a value was given."""
        if value is not None:
            self.spec.setdefault(block, {})[name] = value


# --- OpenAI -----------------------------------------------------------------------------------------------------------

# Facts of a job object that say how it went, not what was asked for.
_OPENAI_FACTS = frozenset(
    {
        *("id", "object", "created_at", "finished_at", "estimated_finish", "fine_tuned_model", "organization_id"),
        *("status", "result_files", "trained_tokens", "error", "user_provided_suffix", "shared_with_openai"),
        *("usage_metrics", "eval_id"),
    }
)
_OPENAI_REASONS = {
    "training_file": UPLOAD,
    "validation_file": "upload the file, and name its id as dataset.eval",
    "metadata": "a spec has none; jobs that /v1/fine_tuning/jobs creates keep it",
    "integrations": "`adamss jobs export JOB --to wandb` copies a job's numbers, and /v1/fine_tuning/jobs takes them",
}
_KNOWN_OPENAI = frozenset({"model", "suffix", "seed", "method", "hyperparameters"})


def from_openai(job: Settings, base_model: str | None, task: str, preset: Settings) -> Translation:
    """Translate a fine-tuning job, as `fine_tuning.jobs` takes or shows it.

    Args:
        base_model: in the place of OpenAI's model.
        task: our name of text generation.
        preset: our settings of the training, which "auto" and multipliers refer to.
    """
    name = job.get("suffix") or job.get("user_provided_suffix") or "from-openai"
    made = Translation({"name": str(name)[:120], "task": task, "base_model": base_model or job["model"]})
    made.put("dataset", "train", TRAIN)
    if base_model is None:
        made.left_out["model"] = "is no open model: name a base with --base-model, else the spec has OpenAI's name"
    method = job.get("method") or {}
    if method.get("type", "supervised") != "supervised":
        made.left_out["method"] = f"{method['type']} is not trained here; the spec is for supervised examples"
    numbers = (method.get("supervised") or {}).get("hyperparameters") or job.get("hyperparameters") or {}
    for theirs, ours in (("n_epochs", "epochs"), ("batch_size", "batch_size")):
        if isinstance(number := numbers.get(theirs), int | float):
            made.put("training", ours, number)
    if isinstance(rate := numbers.get("learning_rate_multiplier"), int | float):
        made.put("training", "learning_rate", rate * preset["learning_rate"])
    made.put("training", "seed", job.get("seed"))
    for key, value in job.items():
        if value and key not in _KNOWN_OPENAI | _OPENAI_FACTS:
            made.left_out[key] = _OPENAI_REASONS.get(key, "is not known")
    return made


# --- LLaMA-Factory ----------------------------------------------------------------------------------------------------

# Their setting -> block and field of ours, and what makes ours of theirs.
_SAME: dict[str, tuple[str, str, Callable[[Any], Any]]] = {
    "num_train_epochs": ("training", "epochs", float),
    "max_steps": ("training", "max_steps", lambda value: int(value) if int(value) > 0 else None),
    "per_device_train_batch_size": ("training", "batch_size", int),
    "gradient_accumulation_steps": ("training", "gradient_accumulation_steps", int),
    "weight_decay": ("training", "weight_decay", float),
    "max_grad_norm": ("training", "max_grad_norm", float),
    "warmup_ratio": ("training", "warmup_ratio", float),
    "logging_steps": ("training", "logging_steps", int),
    "seed": ("training", "seed", int),
    "cutoff_len": ("training", "max_length", int),
    "packing": ("training", "packing", bool),
    "gradient_checkpointing": ("training", "gradient_checkpointing", bool),
    "quantization_bit": ("training", "quantization", lambda bits: {4: "4bit", 8: "8bit"}.get(int(bits))),
    "max_samples": ("dataset", "max_rows", int),
    "val_size": ("dataset", "eval_fraction", lambda share: float(share) if 0 < float(share) < 1 else None),
    "lora_rank": ("adamss", "budget", lambda rank: f"lora:r={int(rank)}"),
}
_SCHEDULERS = {"linear": "linear", "cosine": "cosine", "constant": "constant", "constant_with_warmup": "constant"}
_FACTORY_REASONS = {
    **dict.fromkeys(("dataset", "dataset_dir", "eval_dataset"), UPLOAD),
    "template": "chats are rendered by the template of the model's tokenizer",
    **dict.fromkeys(
        ("lora_alpha", "lora_dropout", "use_rslora", "use_dora"), "belongs to LoRA; AdaMSS has no such part"
    ),
    **dict.fromkeys(
        ("lr_scheduler_kwargs", "optim"), "the optimizer is AdamW with the schedules of training.lr_scheduler"
    ),
    **dict.fromkeys(("deepspeed", "fsdp", "fsdp_config", "ddp_timeout"), "workers decide how a job runs on its device"),
    "warmup_steps": "set training.warmup_ratio, a share of the steps",
    "report_to": "`adamss jobs export JOB` copies a job's numbers to trackers",
    "resume_from_checkpoint": "a job resumes by itself",
    "adapter_name_or_path": "set init_from to the id of one of your jobs",
    "trust_remote_code": "code of models is never run",
}
_NEEDLESS = frozenset(
    {
        *("do_train", "do_eval", "do_predict", "output_dir", "overwrite_output_dir", "overwrite_cache", "plot_loss"),
        *("preprocessing_num_workers", "dataloader_num_workers", "save_only_model", "finetuning_type", "save_strategy"),
        *("eval_strategy", "evaluation_strategy", "per_device_eval_batch_size", "ddp_find_unused_parameters"),
    }
)
_HANDLED = frozenset(
    {
        *(
            "model_name_or_path",
            "stage",
            "learning_rate",
            "lr_scheduler_type",
            "lora_target",
            "bf16",
            "fp16",
            "pure_bf16",
        ),
        *("save_steps", "eval_steps"),
    }
)


def from_llamafactory(job: Settings, base_model: str | None, task: str) -> Translation:
    """Translate a training file of LLaMA-Factory."""
    named = str(job.get("model_name_or_path", "")).rstrip("/")
    base = base_model or ("/".join(named.split("/")[-2:]) if named.count("/") <= 1 else PurePath(named).name)
    made = Translation({"name": f"from-llamafactory {base}"[:120], "task": task, "base_model": base})
    made.put("dataset", "train", TRAIN)
    if (stage := job.get("stage", "sft")) not in ("sft", "pt"):
        made.left_out["stage"] = f"{stage} is not trained here; the spec is for supervised examples"
    if job.get("finetuning_type", "lora") != "lora":
        made.left_out["finetuning_type"] = "AdaMSS is trained in its place, with the preset's size"
    for key, (block, name, translated) in _SAME.items():
        if key in job:
            made.put(block, name, translated(job[key]))
    if "learning_rate" in job:
        made.put("training", "learning_rate", float(job["learning_rate"]) * RATE_FACTOR)
        made.left_out["learning_rate"] = f"is LoRA's: the spec has {RATE_FACTOR} times it, as AdaMSS wants"
    _modes(job, made)
    for key, value in job.items():
        if value is not None and key not in {*_SAME, *_NEEDLESS, *_HANDLED}:
            made.left_out[key] = _FACTORY_REASONS.get(key, "has no counterpart")
    return made


def _modes(job: Settings, made: Translation) -> None:
    """Translate settings with a few choices."""
    if (scheduler := job.get("lr_scheduler_type")) is not None:
        made.put("training", "lr_scheduler", _SCHEDULERS.get(scheduler))
        if scheduler not in _SCHEDULERS:
            made.left_out["lr_scheduler_type"] = f"{scheduler} is no schedule of ours; the preset's is taken"
    if job.get("bf16") or job.get("pure_bf16") or job.get("fp16"):
        made.put("training", "precision", "fp16" if job.get("fp16") else "bf16")
    targets = job.get("lora_target")
    if targets is not None:
        listed = targets if isinstance(targets, list) else [part.strip() for part in str(targets).split(",")]
        made.put("adamss", "target_modules", "all-linear" if listed == ["all"] else listed)
    for theirs, ours in (("save_steps", "checkpoint_steps"), ("eval_steps", "eval_steps")):
        if (steps := job.get(theirs)) is not None:
            made.put("training", ours, int(steps) if float(steps) >= 1 else None)
