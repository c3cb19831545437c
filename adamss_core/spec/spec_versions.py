"""Versions of the job spec: which release first understood each field, and each value of a choice.

During an upgrade, workers of two releases share one queue. A job carries the least version that knows all that its spec
uses, a worker claims only jobs of versions that it knows, and fields that a job does not use are left out of its row,
so that jobs without new fields stay within reach of older workers.

A new field or choice belongs to the newest version; where that was released already, to a version of its own after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from pydantic import BaseModel

from adamss_core.spec.adamss import AdamssSpec
from adamss_core.spec.job import DatasetSpec, JobSpec, TrainingSpec

# "a.b" is a field, "a.b=c" a choice, "a.b[]" an item where the field may be a list, "a.b{}" a value where it may be a
# mapping, "a-task/b" a task with this problem_type. Separated by white space, in the order of the alphabet.
VERSIONS = {
    1: """
        adamss adamss.asa_importance_beta adamss.asa_schedule_exponent adamss.asa_target_subspaces
        adamss.asa_uncertainty_beta adamss.auto_mapping adamss.auto_mapping{} adamss.base_model_name_or_path
        adamss.final_warmup adamss.final_warmup=auto adamss.inference_mode adamss.init_warmup
        adamss.init_warmup=auto adamss.init_weights adamss.init_weights=orthogonal adamss.layers_pattern
        adamss.layers_pattern[] adamss.layers_to_transform adamss.layers_to_transform[] adamss.mask_interval
        adamss.mask_interval=auto adamss.modules_to_save adamss.modules_to_save[] adamss.num_subspaces
        adamss.peft_type adamss.peft_type=ADAMSS adamss.peft_version adamss.r adamss.random_seed adamss.revision
        adamss.subspace_rank adamss.svd_threshold adamss.target_modules adamss.target_modules[] adamss.task_type
        adamss.use_asa adamss.use_dynamic_rank artifacts artifacts[] artifacts[]=adapter artifacts[]=lora
        artifacts[]=merged base_model dataset dataset.completion dataset.eval dataset.eval_fraction
        dataset.image dataset.label dataset.label_separator dataset.messages dataset.prompt dataset.tags
        dataset.text dataset.text_pair dataset.tokens dataset.train image-classification/None init_from name
        problem_type problem_type=multi_label_classification problem_type=regression
        problem_type=single_label_classification retries revision task task=image-classification
        task=text-classification task=text-generation task=token-classification text-classification/None
        text-classification/multi_label_classification text-classification/regression
        text-classification/single_label_classification text-generation/None token-classification/None training
        training.batch_size training.checkpoint_steps training.checkpoint_steps=auto training.compile
        training.dataloader_workers training.early_stopping_patience training.epochs training.eval_steps
        training.eval_steps=epoch training.gradient_accumulation_steps training.gradient_checkpointing
        training.head_learning_rate training.learning_rate training.logging_steps training.lr_scheduler
        training.lr_scheduler=constant training.lr_scheduler=cosine training.lr_scheduler=linear
        training.max_grad_norm training.max_length training.max_steps training.metric_for_best
        training.metric_for_best=accuracy training.metric_for_best=auto training.metric_for_best=f1
        training.metric_for_best=loss training.metric_for_best=macro_f1 training.metric_for_best=matthews
        training.metric_for_best=micro_f1 training.metric_for_best=pearson training.metric_for_best=perplexity
        training.metric_for_best=spearman training.over_length training.over_length=drop
        training.over_length=raise training.over_length=truncate training.packing training.precision
        training.precision=auto training.precision=bf16 training.precision=fp16 training.precision=fp32
        training.quantization training.quantization=4bit training.quantization=8bit training.sample_prompts
        training.seed training.warmup_ratio training.weight_decay webhook
    """,
    2: """
        adamss.asa_pruned adamss.asa_pruned=frozen adamss.asa_pruned=removed adamss.basis adamss.basis=gradient
        adamss.basis=inputs adamss.basis=weights adamss.bias adamss.bias=frozen adamss.bias=trained
        adamss.budget adamss.row_share compare compare[] dataset.background dataset.group dataset.history
        dataset.label[] dataset.max_rows dataset.prompt[] dataset.system dataset.test dataset.tools
        dataset.train[] dataset.train[].id dataset.train[].weight
        image-classification/multi_label_classification image-classification/regression
        image-classification/single_label_classification init_from.checkpoint init_from.job preemptible preset priority
        resources resources.devices resources.kind resources.memory_gb resources.shard resources.shard=auto
        retention retention.artifacts_days retention.artifacts_days=forever retention.checkpoints_days
        retention.checkpoints_days=forever retention.logs_days retention.logs_days=forever time_limit_seconds
        training.class_weights training.class_weights=balanced training.class_weights{} training.label_smoothing
        training.metric_for_best=token_accuracy
    """,
}
# Jobs that evaluate a finished model, or measure rows, instead of training; older workers would train.
EVALUATION_VERSION = 2
# Jobs on a base model that a project has added; older workers know the operator's folders and the hub alone.
ADDED_MODEL_VERSION = 2

# Format of checkpoints -> version of the spec whose workers read it first; a new format goes with a new version.
CHECKPOINT_FORMATS = {1: 1}

SPEC_VERSION = max(VERSIONS)
"""The newest version that this release understands."""

_SINCE = {element: version for version, elements in VERSIONS.items() for element in elements.split()}
_CHOICES = {element.partition("=")[0] for element in _SINCE if "=" in element}
_NEWER_FIELDS = [
    (path, version)
    for path, version in _SINCE.items()
    if version > 1 and path[-1] not in "]}" and not {"=", "/"} & set(path)
]
_BLOCKS: dict[str, type[BaseModel]] = {
    "": JobSpec, "dataset": DatasetSpec, "adamss": AdamssSpec, "training": TrainingSpec
}  # fmt: skip


def needed_version(spec: JobSpec) -> int:
    """Return the least version that knows all fields and choices of the spec; a default counts as not used."""
    variant = f"{spec.task}/{spec.problem_type}"
    return max(_version_of(element) for element in (variant, *_used(spec, "")))


def without_unused(spec: Mapping[str, Any], version: int) -> dict[str, Any]:
    """Leave out the fields that are newer than a version, which older releases would refuse.

    Args:
        spec: JSON of a spec that uses none of them: `needed_version` of it is at most `version`.
    """
    reduced = deepcopy(dict(spec))
    for path, since in _NEWER_FIELDS:
        if since > version:
            _remove(reduced, path.replace("[]", "").split("."))
    return reduced


def with_unused(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Put back the defaults of the fields that `without_unused` has left out."""
    completed = dict(spec)
    for path, _ in _NEWER_FIELDS:
        name, block = path.rpartition(".")[2], path.rpartition(".")[0]
        if block not in _BLOCKS or (block and not isinstance(completed.get(block), dict)):
            continue
        default = _BLOCKS[block].model_fields[name].get_default(call_default_factory=True)
        default = default.model_dump(mode="json") if isinstance(default, BaseModel) else default
        if block:
            completed[block] = {name: default} | completed[block]
        else:
            completed.setdefault(name, default)
    return completed


def _version_of(element: str) -> int:
    """Return the version that first knew an element; the newest for a choice of a plug-in, which no table lists."""
    if (since := _SINCE.get(element)) is not None:
        return since
    path, has_value, _ = element.partition("=")
    return 1 if has_value and path not in _CHOICES else SPEC_VERSION  # a free text, or a choice


def _used(block: BaseModel, prefix: str) -> Iterator[str]:
    """Yield the elements of the table that a block's fields use."""
    for name, field in type(block).model_fields.items():
        value = getattr(block, name)
        if value != field.get_default(call_default_factory=True):
            yield from _elements(value, f"{prefix}{name}")


def _elements(value: Any, path: str) -> Iterator[str]:
    yield path
    if isinstance(value, BaseModel):
        yield from _used(value, f"{path}.")
    elif isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _elements(item, f"{path}{{}}" if isinstance(value, dict) else f"{path}[]")
    elif isinstance(value, str):
        yield f"{path}={value}"


def _remove(node: Any, steps: list[str]) -> None:
    if isinstance(node, list):
        for item in node:
            _remove(item, steps)
    elif isinstance(node, dict):
        if len(steps) > 1:
            _remove(node.get(steps[0]), steps[1:])
        else:
            node.pop(steps[0], None)
