"""The `adamss` block: every field of `peft.AdamssConfig` under its own name, type and default, and a few of our own.

An `adapter_config.json` written by PEFT can be pasted as it is. Beyond PEFT, the three schedule fields take "auto", and
the fields of `BEYOND_PEFT` are ours: they never stand in an adapter_config.json.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Auto = Literal["auto"]
StrictInt = Annotated[int, Field(strict=True)]
Count = Annotated[StrictInt, Field(ge=1, le=1_000_000)]
Step = Annotated[StrictInt, Field(ge=0, le=1_000_000_000)]
# Fields of ASA may be anything while it is off, as in a configuration that PEFT wrote.
Unchecked = Annotated[StrictInt, Field(ge=-1_000_000_000, le=1_000_000_000)]
# Bounds far above what PEFT writes; matching many names or a long expression takes time.
ModuleName = Annotated[str, Field(min_length=1, max_length=300)]
Expression = Annotated[str, Field(min_length=1, max_length=1_000)]
TargetNames = Annotated[list[ModuleName], Field(max_length=2_000)]
SavedNames = Annotated[list[ModuleName], Field(max_length=500)]
LayerIndices = Annotated[list[Step], Field(max_length=1_000)]
LayerLists = Annotated[list[ModuleName], Field(max_length=20)]
LEAST_WITH_ASA = {"asa_target_subspaces": 1, "init_warmup": 0, "final_warmup": 1, "mask_interval": 1}
BEYOND_PEFT = {"basis", "row_share", "bias", "asa_pruned", "budget"}
SCHEDULE_FIELDS = ("init_warmup", "final_warmup", "mask_interval")
PERCENT = r"\d{1,3}(\.\d{1,9})?%"
Budget = Annotated[str, Field(pattern=rf"^({PERCENT}|({PERCENT} of )?lora:r=[1-9]\d{{0,3}})$", max_length=40)]
Pasted = Annotated[str, Field(max_length=500)]  # a limit also has the characters checked: half of one is no JSON


class AdamssSpec(BaseModel):
    """The method's settings, as in `peft.AdamssConfig`."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    r: Annotated[StrictInt, Field(ge=1, le=16_384)] = 100
    """Rank of the truncated SVD of each target weight; clamped to the weight's smaller dimension."""
    num_subspaces: Annotated[StrictInt, Field(ge=1, le=4_096)] = 5
    """Number K of subspaces into which the rows of each target are clustered."""
    subspace_rank: Annotated[StrictInt, Field(ge=1, le=1_024)] = 1
    """Rank of the trained update in each subspace."""
    basis: Literal["weights", "inputs", "gradient"] = "weights"
    """Source of the `r` frozen directions in which A works: "weights", the leading ones of each target's weight, as in
    PEFT; "inputs", those in which its inputs vary most; "gradient", those in which the loss would change it most. The
    last two are found before the first step, from up to 256 training rows that the seed chooses, and travel in the
    adapter, which PEFT loads as any other. Row sets are the weight's in each case."""
    row_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of each target's output rows that are trained: those with the largest loss gradient over the rows that a
    basis is taken from, and at least one of each subspace. The others are left alone and are no parameters; 1 trains
    all."""
    budget: Count | Budget | None = None
    """Most elements of A and B that the published adapter may have. It stands in the place of `r`, `num_subspaces`,
    `subspace_rank` and `row_share`, which follow from it and the shapes of the targets. Either a number, or a share of
    the base's parameters such as "0.05%", or "lora:r=1" for as many as a LoRA of that rank has on the same targets, or
    a part of them, "67% of lora:r=1". `basis` is "inputs" then, and with ASA half of the subspaces stay, unless these
    are given. Where the budget is small and neither targets nor layers are named, the first layers are left out. The
    dry run says what was chosen and why."""
    target_modules: TargetNames | Expression | None = None
    """Linear layers to adapt: a list of names, a regular expression, or "all-linear". None takes the model type's
    default."""
    init_weights: Literal["orthogonal"] | None = "orthogonal"
    """"orthogonal" starts A with orthonormal rows and B at zero, so at the base model's outputs; null (or false, as in
    PEFT) starts B as small noise, so beside them."""
    modules_to_save: SavedNames | None = None
    """Modules trained in full and saved with the adapter. The head of a classification task is always included."""
    bias: Literal["trained", "frozen"] = "trained"
    """"trained" adapts weight and bias of a target as one, as PEFT does; "frozen" adapts the weight alone, so that the
    LoRA has no biases and loads in servers that refuse them. PEFT loads both."""
    layers_to_transform: LayerIndices | Step | None = None
    """Only adapt these layer indices. Has no effect on a regular expression, and on modules that are named in full."""
    layers_pattern: LayerLists | ModuleName | None = None
    """Name of the list of layers that `layers_to_transform` counts, such as "layer" or "layers"."""

    use_asa: Annotated[bool, Field(strict=True)] = False
    """Prune subspaces during training by their importance (Adaptive Subspace Allocation)."""
    asa_target_subspaces: Unchecked = 50
    """Number of subspaces, over all layers, that are left when pruning ends; at least 1."""
    init_warmup: Unchecked | Auto = 50
    """Optimizer step at which the pruning ramp begins, or "auto": derived from the number of steps."""
    final_warmup: Unchecked | Auto = 1000
    """Optimizer step at which the target is reached, or "auto"."""
    mask_interval: Unchecked | Auto = 100
    """Optimizer steps between prunings, at least 1, or "auto"."""
    asa_importance_beta: Annotated[float, Field(ge=0, le=1)] = 0.85
    """Decay of the running average of importance |weight x gradient|; with 1 it stays at 0."""
    asa_uncertainty_beta: Annotated[float, Field(ge=0, le=1)] = 0.85
    """Decay of the running average of the importance's deviation; with 1 it stays at 0."""
    asa_schedule_exponent: Annotated[float, Field(le=1_000)] = 3.0
    """Shape of the ramp: 1 prunes evenly, larger values prune more at the beginning."""
    asa_pruned: Literal["frozen", "removed"] = "frozen"
    """"frozen" keeps the value of a pruned subspace in the outputs, as PEFT does, so files do not shrink; "removed"
    takes it out at the step that prunes it: adapter, LoRA and merged model have only what is left. PEFT loads both."""

    use_dynamic_rank: Annotated[bool, Field(strict=True)] = False
    """Choose each subspace's rank by its singular values, up to `subspace_rank`."""
    svd_threshold: Annotated[float, Field(ge=0, le=1_000_000)] = 0.1
    """With `use_dynamic_rank`: singular values above this share of the largest count; from 1 on each rank is 1."""
    random_seed: Annotated[StrictInt, Field(ge=0, le=2**32 - 1)] = 0
    """Seed of the randomized SVD."""

    # PeftConfig's own fields, so that an adapter_config.json can be pasted.
    task_type: Pasted | None = None
    """Set by the job's task; accepted so that an adapter_config.json can be pasted."""
    peft_type: Literal["ADAMSS"] | None = None
    """"ADAMSS" or absent."""
    auto_mapping: dict[Pasted, Pasted | None] | None = None
    """Written by PEFT; has no effect here."""
    peft_version: Pasted | None = None
    """Written by PEFT; has no effect here."""
    base_model_name_or_path: Pasted | None = None
    """Serves as the base model where the job names none."""
    revision: Pasted | None = None
    """Serves as the base model's revision where the job names none."""
    inference_mode: Annotated[bool, Field(strict=True)] = False
    """Written by PEFT; a job always trains."""

    @field_validator("init_weights", mode="before")
    @classmethod
    def _false_is_null(cls, value: Any) -> Any:
        """Take false for null, as PEFT does."""
        return None if value is False else value

    @field_validator("target_modules", "layers_pattern")
    @classmethod
    def _not_empty(cls, value: Any) -> Any:
        if isinstance(value, list) and not value:
            raise ValueError("must name at least one module, or be null")
        return value

    @model_validator(mode="after")
    def _as_peft_refuses(self) -> AdamssSpec:
        if self.use_asa:
            for name, least in LEAST_WITH_ASA.items():
                value = getattr(self, name)
                if value != "auto" and value < least:
                    raise field_error(name, f"must be at least {least} when use_asa is true")
            if self.asa_schedule_exponent <= 0:
                raise field_error("asa_schedule_exponent", "must be positive when use_asa is true")
            init, final = self.init_warmup, self.final_warmup
            if isinstance(init, int) and isinstance(final, int) and init >= final:
                raise field_error(
                    "final_warmup", f"must be larger than init_warmup ({init}), so that there are steps to prune in"
                )
        return self

    @property
    def auto_fields(self) -> list[str]:
        """Names of the schedule's fields that say "auto"."""
        return [name for name in SCHEDULE_FIELDS if getattr(self, name) == "auto"]

    @property
    def needs_gradients(self) -> bool:
        """Return whether calibration takes gradients of training rows."""
        return self.basis == "gradient" or self.row_share < 1

    def config_fields(self) -> dict[str, Any]:
        """Return the keyword arguments for `peft.AdamssConfig`; the schedule must be resolved by now."""
        if self.use_asa and self.auto_fields:
            raise ValueError("the ASA schedule still says 'auto': resolve the spec with make_plan first")
        leave_out = BEYOND_PEFT | {"peft_type", "auto_mapping", "peft_version", "inference_mode", "task_type"}
        fields = self.model_dump(exclude=leave_out)
        return {name: value for name, value in fields.items() if value != "auto"}


class FieldError(ValueError):
    """A validation error of one field, raised by a validator of the whole model."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def field_error(field: str, message: str) -> FieldError:
    return FieldError(field, message)
