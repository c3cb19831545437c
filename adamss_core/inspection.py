"""Inspect a base model by its config and the names of its weights: modules, shapes, head, tokenizer.

`python -m adamss_core.inspection` reads its order in the current folder and leaves the facts there. The model is not
run, and no weight is read: the architecture is built from the config on the meta device.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import transformers
from peft.utils import TRANSFORMERS_MODELS_TO_ADAMSS_TARGET_MODULES_MAPPING
from torch import nn
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoTokenizer,
    PreTrainedModel,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING
from transformers.pytorch_utils import Conv1D
from transformers.utils import logging as transformers_logging

from adamss_core.activations import config_activations
from adamss_core.bypassed import bypassed_modules
from adamss_core.chat_parts import usually_hidden
from adamss_core.errors import AdamssError
from adamss_core.fileio.exchange import read_order, write_answer
from adamss_core.fresh_modules import fresh_modules
from adamss_core.model_files import image_tokens, saved_bytes, weight_bytes
from adamss_core.model_parts import build_on_meta, count_embedding_rows, count_token_ids, head_classes, output_layer
from adamss_core.saved_modules import module_lists, own_parameters
from adamss_core.spec import TaskRecord, facts_format
from adamss_core.spec.tasks import find_record, task_names
from adamss_core.spec.tasks.base import IMAGE_PROCESSOR
from adamss_core.untying import inseparable_weights, tied_weights

_POSITIONS_AFTER_PADDING = frozenset(
    {"camembert", "data2vec-text", "ibert", "longformer", "mpnet", "roberta", "roberta-prelayernorm", "xlm-roberta"}
    | {"xlm-roberta-xl", "xmod", "esm", "luke", "mluke", "markuplm", "lilt", "layoutlmv3"}
)
_QUERY_AND_VALUE = (("query", "value"), ("q_proj", "v_proj"), ("q_lin", "v_lin"), ("query_proj", "value_proj"))


class InspectionError(AdamssError, ValueError):
    """The model cannot be fine-tuned here; `where` is the file at fault."""

    code = "model_unusable"


def inspect_model(folder_or_id: str | Path, revision: str | None = None) -> dict[str, Any]:
    """Return the facts of a base model.

    Returns:
        model_type, architectures, is_encoder_decoder: of the config.
        tasks: for which the model can be fine-tuned.
        parameters, linear_modules, output_modules, output_layer, modules, head_modules, head_parameters_fixed,
            head_parameters_per_label, default_targets, embedding_rows, shared_weights, tied_weights,
            module_parameters, module_lists, head_classes: see `task_facts`; of the first task, and in `other_tasks` by
            the names of the others.
        fresh_modules: see `fresh_modules`; for each task, as above.
        max_positions, vocab_size, hidden_size, image_tokens: None where the config does not contain it.
        has_tokenizer, has_fast_tokenizer, has_chat_template, has_image_processor: whether each can be loaded.
        activations: see `activation_facts`.
        weight_bytes: of one parameter in the files, by the config.
        processor_bytes: of tokenizer and image processor as they are saved.
        hidden_chat_parts: usual parts of chats that the chat template does not show, such as "system message".
        token_ids: see `count_token_ids`.
        format: of these facts.

    Raises:
        InspectionError: there is no such model, no architecture for it, or no weights that may be loaded.
    """
    source = str(folder_or_id)
    options = load_options(source, revision)
    config = _attempt(source, lambda: AutoConfig.from_pretrained(source, **options))
    check_config(config)
    _check_weights(Path(source))
    by_task = _attempt(source, partial(_facts_by_task, config, source))
    first, *others = by_task
    sees_images = any(IMAGE_PROCESSOR in find_record(task).processors for task in by_task)
    image = image_tokens(config) if sees_images else None
    tokenizer = _tokenizer(source, options)
    image_processor = _image_processor(source, options) if sees_images else None
    text = config.get_text_config()
    return {
        "format": facts_format(),
        "model_type": config.model_type,
        "architectures": list(config.architectures or []),
        "is_encoder_decoder": bool(config.is_encoder_decoder),
        "tasks": list(by_task),
        **by_task[first],
        "other_tasks": {task: by_task[task] for task in others},
        "max_positions": position_limit(config),
        "image_tokens": image_tokens(config, image_processor),
        "vocab_size": getattr(text, "vocab_size", None),
        "hidden_size": getattr(text, "hidden_size", None),
        "has_tokenizer": tokenizer is not None,
        "has_fast_tokenizer": tokenizer is not None and bool(tokenizer.is_fast),
        "has_chat_template": tokenizer is not None and tokenizer.chat_template is not None,
        "hidden_chat_parts": _hidden_chat_parts(tokenizer),
        "token_ids": None if tokenizer is None else count_token_ids(tokenizer),
        "has_image_processor": image_processor is not None,
        "activations": config_activations(config, _measured(config, by_task), image),
        "weight_bytes": weight_bytes(config),
        "processor_bytes": sum(saved_bytes(part) for part in (tokenizer, image_processor) if part is not None),
    }


def _facts_by_task(config: Any, source: str) -> dict[str, dict[str, Any]]:
    """Return the facts for every task that the architecture is known for and can be built for; at least one."""
    by_task: dict[str, dict[str, Any]] = {}
    problem: Exception | None = None
    for record in _records(config, task_names()):
        auto_model = getattr(transformers, record.auto_model)
        if not _is_known(config, auto_model, record):
            continue
        try:
            facts = task_facts(config, auto_model, trains_head=record.trains_head, task_type=record.peft_type)
            facts["fresh_modules"] = fresh_modules(source, auto_model, facts["head_modules"])
            by_task[record.name] = facts
        except Exception as error:  # as in _attempt
            problem = problem or error
    if not by_task:
        raise problem or ValueError(f"models of type {config.model_type} are for none of {', '.join(task_names())}")
    return by_task


def _measured(config: Any, tasks: Iterable[str]) -> TaskRecord:
    """Return the record of the task whose model is run to count activations: where both stacks run, or the first."""
    records = _records(config, tasks)
    return next((record for record in records if record.has_two_stacks), records[0])


def _records(config: Any, tasks: Iterable[str]) -> list[TaskRecord]:
    return [find_record(task).for_model(bool(config.is_encoder_decoder)) for task in tasks]


def _is_known(config: Any, auto_model: Any, record: TaskRecord) -> bool:
    known = type(config) in auto_model._model_mapping
    if record.decodes_only:  # transformers can make a decoder of an encoder that was never trained to be one
        known &= type(config) not in MODEL_FOR_MASKED_LM_MAPPING and not config.is_encoder_decoder
    return known


def task_facts(config: Any, auto_model: Any, *, trains_head: bool, task_type: str | None = None) -> dict[str, Any]:
    """Return the facts that depend on a task's head.

    Args:
        task_type: PEFT's.

    Returns:
        parameters: of all modules but the trained head.
        linear_modules: the fields of `LinearModule`; names as PEFT sees them, kind Linear or Conv1D.
        output_modules: those outside of the body where it is not trained in full.
        output_layer: see `output_layer`.
        modules: name of every module -> its class.
        head_modules: modules outside of the body, which are trained in full.
        head_parameters_fixed, head_parameters_per_label: a head for n labels has fixed + n * per_label parameters.
        default_targets: names of the modules that are adapted in this model type by default; None if unknown.
        targets_guessed: whether they are not PEFT's.
        embedding_rows: see `count_embedding_rows`.
        shared_weights: linear layers, those outside of the body too, that share a weight for good -> the other module.
        tied_weights: see `adamss_core.untying.tied_weights`.
        module_parameters, module_lists: see `adamss_core.saved_modules`.
        head_classes: see `head_classes`.
    """
    two, three = (build_on_meta(config, auto_model, labels) for labels in (2, 3))
    outside = head_modules(two)
    heads = outside if trains_head else []
    sizes = [sum(_parameters(model.get_submodule(name)) for name in heads) for model in (two, three)]
    per_label = sizes[1] - sizes[0]
    every_linear, shared = linear_modules(two), inseparable_weights(two)
    linear = [entry for entry in every_linear if trains_head or entry["name"] not in outside]
    outputs = [entry for entry in every_linear if not trains_head and entry["name"] in outside]
    return {
        "parameters": _parameters(two) - sizes[0],
        "linear_modules": linear,
        "output_modules": outputs,
        "output_layer": output_layer(two, task_type),
        "modules": {name: type(module).__name__ for name, module in two.named_modules() if name},
        "head_modules": heads,
        "head_parameters_per_label": per_label,
        "head_parameters_fixed": sizes[0] - 2 * per_label,
        "default_targets": default_targets(config.model_type, linear),
        "targets_guessed": _peft_targets(config.model_type, linear) is None,
        "embedding_rows": count_embedding_rows(two),
        "shared_weights": {entry["name"]: shared[entry["name"]] for entry in every_linear if entry["name"] in shared},
        "tied_weights": tied_weights(two),
        "module_parameters": own_parameters(two),
        "module_lists": module_lists(two),
        "head_classes": head_classes(config, auto_model),
    }


def load_options(source: str, revision: str | None) -> dict[str, Any]:
    """Return arguments for `from_pretrained` that forbid remote code, and hub access for local folders."""
    local = Path(source).is_dir()
    return {
        "revision": None if local else revision,
        "local_files_only": local or os.environ.get("HF_HUB_OFFLINE") == "1",
        "trust_remote_code": False,
    }


def head_modules(model: PreTrainedModel) -> list[str]:
    """Return the names of the modules with parameters outside of the body.

    A model such as T5ForConditionalGeneration has its stacks at the top, beside the layer that scores tokens.
    """
    if not hasattr(model, model.base_model_prefix):
        outputs = model.get_output_embeddings()
        return [name for name, module in model.named_modules() if module is outputs]
    return [
        name for name, module in model.named_children() if name != model.base_model_prefix and _parameters(module) > 0
    ]


def check_config(config: Any) -> None:
    """Raise InspectionError for a config by which no model can be built, or none that can be published.

    torch's error about a padding token without a row names neither the field nor the file. A base that is stored
    quantised has no full precision for the head, for merging and for whoever loads what is published.
    """
    text = config.get_text_config()
    token, rows = getattr(text, "pad_token_id", None), getattr(text, "vocab_size", None)
    if isinstance(token, int) and isinstance(rows, int) and not -rows <= token < rows:
        raise InspectionError(
            f"pad_token_id in the model's config.json is {token:,}, but its embeddings have {rows:,} rows.",
            hint="Set it to the id of the tokenizer's padding token, or to null.",
            where="config.json",
        )
    if getattr(config, "quantization_config", None) is not None:
        raise InspectionError(
            "The model is stored quantised (quantization_config in its config.json), and cannot be trained from that.",
            hint='Use the model in full precision; training.quantization ("4bit", "8bit") quantises it when it is '
            "loaded.",
            where="config.json",
        )


def linear_modules(model: nn.Module) -> list[dict[str, Any]]:
    """Describe every linear layer, in the model's order, heads included."""
    layers, readers = [], bypassed_modules(model)
    for name, module in model.named_modules():
        if isinstance(module, (nn.Linear, Conv1D)):
            transposed = isinstance(module, Conv1D)
            rows, columns = module.weight.shape
            layers.append(
                {
                    "name": name,
                    "kind": "Conv1D" if transposed else "Linear",
                    "in_features": rows if transposed else columns,
                    "out_features": columns if transposed else rows,
                    "bias": module.bias is not None,
                    "bypassed_by": readers.get(name),
                }
            )
    return layers


def position_limit(config: Any) -> int | None:
    """Return the number of positions of a model; RoBERTa and its relatives count from the padding token on."""
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    if not isinstance(positions, int) or positions <= 0:
        return None
    return positions - (config.pad_token_id or 0) - 1 if config.model_type in _POSITIONS_AFTER_PADDING else positions


def is_usable(tokenizer: Any) -> bool:
    """Return whether a tokenizer has words: transformers makes one of special tokens only where files are missing."""
    return len(tokenizer) > len(set(tokenizer.all_special_tokens))


def default_targets(model_type: str, linear: list[dict[str, Any]]) -> list[str] | None:
    """Return PEFT's default targets for the model type, else attention's query and value by their usual names."""
    known = _peft_targets(model_type, linear)
    names = _called_names(linear)
    return known or next((list(pair) for pair in _QUERY_AND_VALUE if names.issuperset(pair)), None)


def _peft_targets(model_type: str, linear: list[dict[str, Any]]) -> list[str] | None:
    """Return PEFT's default targets for the model type, with a regular expression resolved; None where it has none, or
    none that the model has (ViT's were renamed)."""
    targets: list[str] | str | None = TRANSFORMERS_MODELS_TO_ADAMSS_TARGET_MODULES_MAPPING.get(model_type)
    if isinstance(targets, str):
        return [module["name"] for module in linear if re.fullmatch(targets, module["name"])]
    return targets if targets is not None and not _called_names(linear).isdisjoint(targets) else None


def _called_names(linear: list[dict[str, Any]]) -> set[str]:
    return {module["name"].rpartition(".")[2] for module in linear if module["bypassed_by"] is None}


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _tokenizer(source: str, options: dict[str, Any]) -> Any:
    """Return the tokenizer, or None where the model has no usable one."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
    except Exception:  # whatever keeps it from loading, the answer is no
        return None
    return tokenizer if is_usable(tokenizer) else None


def _hidden_chat_parts(tokenizer: Any) -> list[str]:
    if tokenizer is None or tokenizer.chat_template is None:
        return []
    try:
        return usually_hidden(
            lambda messages, tools: str(tokenizer.apply_chat_template(messages, tools=tools, tokenize=False))
        )
    except Exception:  # as above
        return []


def _image_processor(source: str, options: dict[str, Any]) -> Any:
    """Return the image processor, or None where the model has none that can be loaded."""
    try:
        return AutoImageProcessor.from_pretrained(source, backend="pil", **options)
    except Exception:  # as above
        return None


def _check_weights(folder: Path) -> None:
    if folder.is_dir() and not any(folder.glob("*.safetensors")):
        pickled = any(folder.glob("*.bin"))
        raise InspectionError(
            "The model has no safetensors weights" + (", only a pickle, which is never loaded." if pickled else "."),
            hint="Save it with save_pretrained of a current transformers.",
            where="model.safetensors",
        )


def _attempt(source: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except Exception as error:  # transformers raises anything from OSError to KeyError for a config it cannot use
        lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise InspectionError(
            f"The model cannot be built from its config.json: {_without_paths(lines[0], source)}",
            hint="It must be of an architecture that transformers knows, without code of its own, for one of "
            f"{', '.join(find_record(task).title.lower() for task in task_names())}.",
            where="config.json",
        ) from error


def _without_paths(text: str, source: str) -> str:
    """Replace the local path in an error's text: users need not know where the service keeps its models."""
    return re.sub(r"\s+", " ", text.replace(source, Path(source).name))[:300]


def main() -> None:
    folder = Path.cwd()
    order = read_order(folder)
    transformers_logging.set_verbosity_error()
    try:
        answer = inspect_model(order["model"], order["revision"])
    except AdamssError as error:
        answer = {"error": {"code": error.code, "message": error.message, "hint": error.hint}}
    write_answer(folder, answer)


if __name__ == "__main__":
    main()
