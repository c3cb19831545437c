"""Make the model of a contender: the base once more, with a plain LoRA of PEFT's own on the job's targets."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils.constants import DUMMY_TARGET_MODULES
from transformers import PreTrainedModel

from adamss_core.exact_targets import exact_targets
from adamss_core.saved_modules import resolve_saved_modules
from adamss_core.spec.contender_names import Contender
from adamss_core.spec.modules_in_full import default_heads
from adamss_core.training.activation_checkpointing import checkpoint_activations
from adamss_core.training.base_model import modules_to_save
from adamss_core.training.null_reporter import NullReporter
from adamss_core.training.plain_adapter import read_plain_adapter
from adamss_core.training.request import Reporter
from adamss_core.training.setup import Setup


def contender_setup(setup: Setup, contender: Contender, reporter: Reporter, steps: int) -> Setup:
    """Return the inputs of a contender's training: the job's own rows, batches and schedule, with its learning rate.

    Args:
        steps: that the job's own training made.
    """
    training = setup.training
    rate = contender.learning_rate(training.learning_rate) or training.learning_rate
    # The head's rate stays the job's, also where the job gives both the same one. Early stopping would give each
    # contender other steps.
    changed = {
        "learning_rate": rate,
        "head_learning_rate": training.head_learning_rate or training.learning_rate,
        "early_stopping_patience": None,
    }
    spec = setup.plan.spec.model_copy(update={"training": training.model_copy(update=changed)})
    return replace(
        setup,
        reporter=reporter,
        plan=replace(setup.plan, spec=spec),
        identity={**setup.identity, "contender": contender.name, "steps": steps},
        contender=contender.name,
        stops_at=steps,
    )


def contender_to_train(setup: Setup, contender: Contender, modules: Sequence[str], folder: Path | None) -> PeftModel:
    """Load the base with the head that the job's own training started from, and put the contender's adapter on it.

    Args:
        modules: adapted by the job, by their names in the base.
        folder: of a checkpoint's adapter to continue with.
    """
    model = _adapted(setup, contender, modules, *setup.fresh_base(NullReporter()))
    if folder is not None:
        read_plain_adapter(model, folder, setup.name)
    if setup.training.gradient_checkpointing:
        checkpoint_activations(model, NullReporter())
    return model


def trained_contender(setup: Setup, contender: Contender, modules: Sequence[str], folder: Path) -> PeftModel:
    """Load a checkpoint's adapter on a base in full precision, to be evaluated as the job's own is."""
    model = _adapted(setup, contender, modules, *setup.task.load_base(setup.source, setup.processor))
    read_plain_adapter(model, folder, setup.name)
    return model.eval()


def _adapted(
    setup: Setup, contender: Contender, modules: Sequence[str], base: PreTrainedModel, fresh: list[str]
) -> PeftModel:
    """Adapt as stock PEFT does. alpha is the rank, so that the scale is 1 at any rank; PEFT's own alpha, 8 at any rank,
    would multiply the rate of a rank of 1 by 8."""
    record, asked = setup.task.record, setup.plan.spec.adamss.modules_to_save
    rank = contender.rank or 1
    config = LoraConfig(
        r=rank,
        lora_alpha=rank,
        target_modules=DUMMY_TARGET_MODULES if contender.rank is None else exact_targets(base, sorted(modules)),
        modules_to_save=modules_to_save(base, fresh, asked, default_heads(record.peft_type), record.trains_head),
        task_type=record.peft_type,
    )
    resolve_saved_modules(base, config)
    with warnings.catch_warnings():
        # Of Conv1D, which PEFT recognises by itself, and of tied weights, which are not merged here.
        warnings.simplefilter("ignore")
        model = get_peft_model(base, config, adapter_name=setup.name)
    assert isinstance(model, PeftModel)
    return model


def count_elements(model: PeftModel) -> tuple[int, int]:
    """Return the trained elements of A and B, and those of the head and other modules in full."""
    trained = [(name, parameter.numel()) for name, parameter in model.named_parameters() if parameter.requires_grad]
    lora = sum(elements for name, elements in trained if ".lora_" in name)
    return lora, sum(elements for _, elements in trained) - lora
