"""Load the tokenizer and the base model with its head, and put the adapter on it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from peft import AdamssConfig, PeftModel
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from adamss_core.decomposition_cache import DecompositionCache
from adamss_core.errors import AdamssError, AdamssWarning
from adamss_core.inspection import (
    check_config,
    default_targets,
    head_modules,
    is_usable,
    linear_modules,
    load_options,
)
from adamss_core.peft_model import get_adamss_model
from adamss_core.shared_weights import REMEDY, shares_weight
from adamss_core.spec.modules_in_full import default_heads
from adamss_core.training.errors import TrainingError, is_out_of_memory
from adamss_core.training.quantization import keep_weight_layout, quantization_config
from adamss_core.training.request import Reporter, RunRequest
from adamss_core.training.stored_dtype import stored_dtype, widen_outside_blocks
from adamss_core.untying import inseparable_weights


@dataclass(frozen=True)
class Source:
    """Location of a base model, and the name under which it is published.

    Attributes:
        path: a local folder's path, or a hub id.
        name: used in cards, configs and manifests; never a path of this machine.
        classes: class names in the order of their ids.
        quantization: "4bit" or "8bit" during training; artifacts are published for the base in full precision.
        unquantised: modules that stay in full precision beside the head, because they are trained in full.
        divided: whether each process needs a part of the blocks only; see `stored_dtype`.
    """

    path: str
    revision: str | None
    name: str
    classes: tuple[str, ...]
    quantization: str | None = None
    unquantised: tuple[str, ...] = ()
    divided: bool = False

    @classmethod
    def of(cls, request: RunRequest, classes: list[str]) -> Source:
        return cls(request.model, request.revision, request.spec.base_model, tuple(classes))

    @property
    def options(self) -> dict[str, Any]:
        return load_options(self.path, self.revision)


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Suppress transformers' progress bars and its report of the missing head, which is expected here."""
    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


def load_tokenizer(source: Source, **options: Any) -> PreTrainedTokenizerBase:
    """Load the base model's tokenizer, with a padding token.

    Raises:
        TrainingError: missing_tokenizer.
    """
    problem = "it is empty"
    try:
        tokenizer = AutoTokenizer.from_pretrained(source.path, **source.options, **options)
    except Exception as error:
        tokenizer, problem = None, first_line(error, source)
    if tokenizer is None or not is_usable(tokenizer):
        raise TrainingError(
            "missing_tokenizer",
            f"The base model '{source.name}' has no tokenizer that can be loaded ({problem}).",
            hint="Put the tokenizer's files (tokenizer.json, tokenizer_config.json) into the model's folder.",
            where="base_model",
        )
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise TrainingError(
                "missing_tokenizer",
                f"The tokenizer of '{source.name}' has neither a padding nor an end token.",
                hint="Set pad_token in its tokenizer_config.json.",
                where="base_model",
            )
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_pretrained(
    auto_model: Any, source: Source, head: dict[str, Any], task: str
) -> tuple[PreTrainedModel, list[str]]:
    """Load the base in fp32, or quantised, with its head; return it and the modules that its files have no weights for.

    These modules start at random, so they must be trained and saved with the adapter. The random values come from
    torch's global seed.

    Args:
        auto_model: transformers' class for the task.
        head: arguments that shape the head.

    Raises:
        TrainingError: model_load_failed, quantization_unavailable.
        InspectionError: the config is none that can be trained.
    """
    with _loading(source, task):
        config = AutoConfig.from_pretrained(source.path, **source.options)
        check_config(config)
        full_precision = _unquantised(auto_model, source, config)
    dtype = stored_dtype(source.path, source.options) if source.divided else torch.float32
    model, missing = _load(auto_model, source, head, task, full_precision, dtype)
    if dtype != torch.float32 and missing:  # which start at random, and not in half precision
        model, missing = _load(auto_model, source, head, task, full_precision)
    elif dtype != torch.float32:
        widen_outside_blocks(model)
    fresh = sorted({key.rpartition(".")[0] for key in missing})
    if source.quantization is not None and (more := [name for name in fresh if not is_inside(name, full_precision)]):
        # Random, so trained in full: no gradient reaches a quantised weight.
        model, _ = _load(auto_model, source, head, task, [*full_precision, *more])
    model.config._name_or_path = model.name_or_path = source.name
    return model, fresh


def is_encoder_decoder(source: Source, task: str) -> bool:
    """Return whether a base model has an encoder and a decoder; raises TrainingError model_load_failed."""
    with _loading(source, task):
        return bool(AutoConfig.from_pretrained(source.path, **source.options).is_encoder_decoder)


@contextmanager
def _loading(source: Source, task: str) -> Iterator[None]:
    """Translate what transformers raises for a base that it cannot load, which may be anything."""
    try:
        yield
    except AdamssError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise TrainingError(
            "model_load_failed",
            f"The base model '{source.name}' cannot be loaded ({first_line(error, source)}).",
            hint=f"It needs a config.json of an architecture that transformers knows for {task}, and its weights as "
            "safetensors.",
            where="base_model",
        ) from error


def _unquantised(auto_model: Any, source: Source, config: Any) -> list[str]:
    """Return the modules to keep in full precision in a quantised base: the head's, and those that the job names.

    They are trained in full, but transformers would quantise them too.
    """
    if source.quantization is None:
        return []
    with torch.device("meta"):
        model = auto_model.from_config(config, trust_remote_code=False)
    return [*head_modules(model), *source.unquantised]


def _load(
    auto_model: Any,
    source: Source,
    head: dict[str, Any],
    task: str,
    unquantised: list[str],
    dtype: torch.dtype = torch.float32,
) -> tuple[PreTrainedModel, set[str]]:
    """Load the model; return it and the names of the parameters that its files have no values for."""
    quantised = quantization_config(source.quantization, unquantised)
    with _loading(source, task), quiet_loading():
        model, info = auto_model.from_pretrained(
            source.path,
            use_safetensors=True,
            dtype=dtype,
            **({} if quantised is None else {"quantization_config": quantised}),
            ignore_mismatched_sizes=True,  # a head for other classes; anything else is refused below
            output_loading_info=True,
            **head,
            **source.options,
        )
    if quantised is not None:
        keep_weight_layout(model)
    missing = {str(key) for key in info["missing_keys"]} | {str(entry[0]) for entry in info["mismatched_keys"]}
    _check_weights(model, missing, source)
    return model, missing


def _check_weights(model: PreTrainedModel, missing: set[str], source: Source) -> None:
    """Raise TrainingError where most of the body is missing; head and pooler may be, as in masked language models."""
    every = [name for name, _ in model.named_parameters()]
    # T5ForConditionalGeneration has its stacks at the top.
    body = [name for name in every if name.startswith(f"{model.base_model_prefix}.")] or every
    absent = [name for name in body if name in missing]
    if 2 * len(absent) > len(body):
        raise TrainingError(
            "model_load_failed",
            f"The weights of '{source.name}' do not belong to its config.json: {len(absent)} of {len(body)} tensors "
            f"are missing or have another shape, such as '{absent[0]}'.",
            hint="Get the model's files again.",
            where="base_model",
        )


def add_adapter(
    model: PreTrainedModel,
    fresh: list[str],
    request: RunRequest,
    reporter: Reporter,
    peft_type: str | None,
    heads: bool,
) -> PeftModel:
    """Put the job's adapter on the base, and report the core's warnings as events.

    Args:
        fresh: modules that start at random.
        peft_type: PEFT's task type.
        heads: whether modules outside of the body are trained in full.
    """
    config = AdamssConfig(**request.spec.adamss.config_fields(), task_type=peft_type)
    own = default_heads(peft_type)
    config.modules_to_save = modules_to_save(model, fresh, request.spec.adamss.modules_to_save, own, heads)
    _check_shared_weights(model, config.modules_to_save or [])
    if config.target_modules is None:
        config.target_modules = default_targets(model.config.model_type, linear_modules(model))
    config.revision = request.spec.revision
    cache = None if request.cache is None else DecompositionCache(request.cache, reporter.decomposition)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", AdamssWarning)
        adapted = get_adamss_model(
            model,
            config,
            bias=request.spec.adamss.bias,
            asa_pruned=request.spec.adamss.asa_pruned,
            decomposition_cache=cache,
        )
    for warning in caught:
        if issubclass(warning.category, AdamssWarning):
            reporter.event("warning", str(warning.message), {})
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return adapted


def modules_to_save(
    model: PreTrainedModel, fresh: list[str], asked: list[str] | None, own: tuple[str, ...], heads: bool
) -> list[str] | None:
    """Return the modules to train in full beside those that PEFT adds by default (`own`).

    These are the modules that the job names, all other modules of the head, and all modules that start at random,
    whose values must be saved.
    """
    names = [name for name in asked or [] if name not in own]
    # A parent comes before what is inside it.
    candidates = [*(head_modules(model) if heads else []), *sorted(filter(None, fresh))]
    for name in candidates:
        if not is_inside(name, (*own, *names)):
            names.append(name)
    return names or None


def _check_shared_weights(model: PreTrainedModel, names: list[str]) -> None:
    """Raise TrainingError for a module to train in full whose weight another module shares for good."""
    for name, other in inseparable_weights(model).items():
        if is_inside(name, names):
            raise TrainingError(
                "target_shares_weight", shares_weight(name, other), hint=REMEDY, where="adamss.modules_to_save"
            )


def is_inside(name: str, modules: Iterable[str]) -> bool:
    """Return whether a module is one of `modules`, by its name or the end of it, or lies inside of one."""
    return any(f".{module}." in f".{name}." for module in modules)


def first_line(error: Exception, source: Source) -> str:
    """Return the first line of an error's text, without the model's local path."""
    text = str(error).strip()
    return (text.splitlines()[0] if text else type(error).__name__).replace(source.path, source.name)[:300]
