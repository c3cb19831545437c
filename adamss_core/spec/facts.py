"""What must be known of a base model to plan a job without loading it."""

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


class ModelFacts(BaseModel):
    """Facts of a base model, found out on the meta device."""

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())

    model_type: str
    architectures: list[str] = []
    parameters: int
    linear_modules: list[LinearModule]
    head_modules: list[str] = []
    head_parameters_per_label: int = 0
    head_parameters_fixed: int = 0
    default_targets: list[str] | None = None
    max_positions: int | None = None
    vocab_size: int | None = None
    has_tokenizer: bool = False
    hidden_size: int | None = None
    tasks: list[str] = []
