"""Facts of a base model by which a job is planned without loading it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class LinearModule(BaseModel):
    """A linear layer that AdaMSS can adapt."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str
    kind: str
    in_features: int
    out_features: int
    bias: bool
    bypassed_by: str | None = None
    """Class of the module around that reads the weight without calling the module; None where it is called."""


class Activations(BaseModel):
    """Bytes that a model keeps for the backward pass of a batch, as `adamss_core.activations` counts them."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    fixed: float
    per_token: float
    per_pair: float

    def of(self, rows: int, length: int, decoded: float = 1.0) -> float:
        """Return the bytes of a batch, (rows, length); `fixed`, copies of weights, are not part of them.

        Args:
            decoded: tokens of the decoder for each of the encoder. Both stacks were counted at one length; a third of
                their pairs each are the encoder's, the decoder's, and those of the attention between them.
        """
        tokens, pairs = (1 + decoded) / 2, (1 + decoded + decoded**2) / 3
        return rows * (self.per_token * length * tokens + self.per_pair * length**2 * pairs)


class TaskFacts(BaseModel):
    """Facts that depend on the head: the modules of the model as its task loads it.

    Attributes:
        embedding_rows: token ids that the model has an embedding for; None where it embeds no tokens.
        output_modules: linear layers outside of a body whose head is not trained, such as lm_head: adapted only where
            they are named.
        output_layer: the linear layer that "all-linear" leaves out.
        modules: every module, in the model's order -> its class.
        shared_weights: linear layer -> another module with the same weight, from which it cannot be separated.
        tied_weights: module -> another with the same weight, which merging unties.
        module_parameters: every module -> its own parameters, those of modules inside left out.
        module_lists: modules that only hold others.
        fresh_modules: modules of the body that the files have no weights for; None while the files are elsewhere.
        targets_guessed: whether `default_targets` are the usual names of attention's query and value, as PEFT has no
            default for the model type, or one that the model lacks.
        head_classes: names of the classes that the files' own head for this task knows; empty where they have none.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    parameters: int
    linear_modules: list[LinearModule]
    output_modules: list[LinearModule] = []
    output_layer: str | None = None
    modules: dict[str, str] = {}
    head_modules: list[str] = []
    head_parameters_per_label: int = 0
    head_parameters_fixed: int = 0
    default_targets: list[str] | None = None
    targets_guessed: bool = False
    embedding_rows: int | None = None
    shared_weights: dict[str, str] = {}
    tied_weights: dict[str, str] = {}
    module_parameters: dict[str, int] = {}
    module_lists: list[str] = []
    fresh_modules: list[str] | None = []
    head_classes: list[str] = []


class ModelFacts(TaskFacts):
    """Facts of a base model, read on the meta device; those of `TaskFacts` belong to the first of its tasks.

    Attributes:
        is_encoder_decoder: whether one stack reads a text and another writes, as in T5 and BART.
        token_ids: ids that the tokenizer may give, from 0 to the largest; None without a tokenizer.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())

    format: int | str = 1
    model_type: str
    architectures: list[str] = []
    is_encoder_decoder: bool = False
    max_positions: int | None = None
    image_tokens: int | None = None
    vocab_size: int | None = None
    has_tokenizer: bool = False
    has_fast_tokenizer: bool = False
    has_chat_template: bool = False
    hidden_chat_parts: list[str] = []
    has_image_processor: bool = False
    token_ids: int | None = None
    hidden_size: int | None = None
    activations: dict[str, Activations] | None = None
    weight_bytes: int = 4
    processor_bytes: int = 0
    tasks: list[str] = []
    other_tasks: dict[str, TaskFacts] = {}

    def for_task(self, task: str) -> ModelFacts:
        """Return the facts with the modules that the model has for `task`."""
        other = self.other_tasks.get(task)
        if other is None:
            return self
        return self.model_copy(update={name: getattr(other, name) for name in TaskFacts.model_fields})


FACTS_FORMAT = 8  # a part of `tasks.facts_format`: stored facts of another format are inspected again
