"""Count the bytes that a model keeps for its backward pass, from its config alone.

The model runs on fake tensors, which have shapes and no memory: attention with dropout, gated layers and autocast's
copies of weights count as torch makes them on a CPU, for every architecture that can be built.
"""

from __future__ import annotations

from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import PreTrainedModel

from adamss_core.spec import TaskRecord

LENGTH = 16  # tokens of the shorter example: within the positions of the smallest models
PRECISIONS = {"fp32": False, "bf16": True}  # name -> whether autocast is on
Inputs = dict[str, Tensor]


def config_activations(config: Any, record: TaskRecord, image_tokens: int | None) -> dict[str, dict[str, float]] | None:
    """Build a task's model from its config, and return its `activation_facts`."""
    with torch.device("meta"):
        model = getattr(transformers, record.auto_model).from_config(config, trust_remote_code=False)
    return activation_facts(model, image_tokens)


def activation_facts(model: PreTrainedModel, image_tokens: int | None) -> dict[str, dict[str, float]] | None:
    """Return for each precision the bytes of a batch: fixed, for each token, and for each pair of an example's tokens.

    Args:
        model: on the meta device; it is used up.
        image_tokens: positions of an image of the config's size; None for a model of texts.

    Returns:
        None for a model that does not run on made-up inputs.
    """
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            model.to_empty(device="cpu").train().requires_grad_(False)
            for embeddings in _input_embeddings(model):
                embeddings.register_forward_hook(_require_gradient)
            found = {name: _solved(model, image_tokens, half) for name, half in PRECISIONS.items()}
    except Exception:  # models raise anything for inputs that they do not expect; the estimate then goes by shapes
        return None
    # A model that keeps nothing embeds its tokens elsewhere: no gradient has flowed.
    return found if all(facts["per_token"] > 0 for facts in found.values()) else None


def _input_embeddings(model: PreTrainedModel) -> set[nn.Module]:
    """Return the modules that embed inputs: each stack of an encoder-decoder has its own, even of tied weights."""
    stacks = (model, model.get_encoder(), model.get_decoder()) if model.config.is_encoder_decoder else (model,)
    return {stack.get_input_embeddings() for stack in stacks}


def _require_gradient(_: nn.Module, inputs: Any, output: Tensor) -> None:
    output.requires_grad_(True)


def _solved(model: PreTrainedModel, image_tokens: int | None, half: bool) -> dict[str, float]:
    """Solve fixed + batch * (per_token * length + per_pair * length**2) for the bytes of a few batches."""
    if image_tokens is not None:
        two, four = (_saved_bytes(model, _images(model, batch), half) for batch in (2, 4))
        example = (four - two) / 2
        return {"fixed": two - 2 * example, "per_token": example / image_tokens, "per_pair": 0.0}
    two, four, longer = (
        _saved_bytes(model, _texts(model, *shape), half) for shape in ((2, LENGTH), (4, LENGTH), (2, 2 * LENGTH))
    )
    example = (four - two) / 2
    fixed = two - 2 * example
    per_pair = ((longer - fixed) / 2 - 2 * example) / (2 * LENGTH**2)
    return {"fixed": fixed, "per_token": example / LENGTH - per_pair * LENGTH, "per_pair": per_pair}


def _saved_bytes(model: PreTrainedModel, inputs: Inputs, half: bool) -> int:
    """Count the bytes that the frozen model keeps where a gradient flows through all of its blocks."""
    own = {tensor.untyped_storage()._cdata for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, Any] = {}  # address -> the storage, which holds its address until the end

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept.setdefault(storage._cdata, storage)
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=half),
    ):
        model(**inputs)
    return sum(storage.nbytes() for address, storage in kept.items() if address not in own)


def _texts(model: PreTrainedModel, batch: int, length: int) -> Inputs:
    ids = torch.ones((batch, length), dtype=torch.long)
    texts = {"input_ids": ids, "attention_mask": ids}
    return texts | {"decoder_input_ids": ids} if model.config.is_encoder_decoder else texts


def _images(model: PreTrainedModel, batch: int) -> Inputs:
    size, channels = model.config.image_size, model.config.num_channels
    return {"pixel_values": torch.empty(batch, channels, size, size)}
