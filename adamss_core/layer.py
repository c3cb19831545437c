"""The adapters of one target module: packed parameters, ASA's state, factors of the delta, and merging."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from peft.tuners._buffer_dict import BufferDict
from peft.tuners.tuners_utils import BaseTunerLayer, check_adapters_to_merge
from peft.utils import resolve_quantization_backend
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from adamss_core.asa_state import AVERAGES, AsaState, check_exported
from adamss_core.config import DEFAULT_ADAPTER
from adamss_core.decomposition import Decomposition, extended_weight
from adamss_core.delta import assemble
from adamss_core.errors import AdapterStateError, MergeError
from adamss_core.layout import SubspaceLayout
from adamss_core.weight_sketch import pack_sketch, sketch_weight, tolerance_of

HALF_PRECISION = (torch.float16, torch.bfloat16)


class AdamssLayer(BaseTunerLayer):
    """Adapters of one target module.

    Per adapter: `adamss_A` (R, r) and `adamss_B` (sum |I_k| r_k,) are trained; `adamss_newB` (r, in[+1]) is the basis
    (the name is stock PEFT's); `adamss_rows` (out,) int32 the subspace of each row (`SubspaceLayout.stored_rows`);
    `adamss_sketch` the sketch of the base weight; `adamss_cells` the positions of packed B in (R, out); `adamss_asa`
    ASA's state.
    """

    adapter_layer_names = ("adamss_A", "adamss_B")
    other_param_names = ("adamss_newB", "adamss_rows", "adamss_sketch", "adamss_cells", "adamss_asa", "layouts")

    # Members of PEFT's mixin, which mypy does not see.
    base_layer: Any
    get_base_layer: Callable[[], Any]
    set_adapter: Callable[..., None]
    active_adapters: list[str]
    # Set by the class that knows the base layer's kind.
    in_features: int
    out_features: int

    def _init_adapters(self, base_layer: nn.Module, module_name: str) -> None:
        self.base_layer = base_layer
        self.module_name = module_name
        self.adamss_A = nn.ParameterDict()
        self.adamss_B = nn.ParameterDict()
        self.adamss_newB = BufferDict(persistent=True)
        self.adamss_rows = BufferDict(persistent=True)
        self.adamss_sketch = BufferDict(persistent=True)
        self.adamss_cells = BufferDict(persistent=False)
        self.adamss_asa = nn.ModuleDict()
        self.layouts: dict[str, SubspaceLayout] = {}
        self._disable_adapters = False
        self.merged_adapters: list[str] = []
        self.quantization_backend = resolve_quantization_backend(self.get_base_layer())

    # --- the base -------------------------------------------------------------------------------------------------

    def base_weight(self) -> Tensor:
        """Return W as (out, in), dequantised where the base is quantised."""
        weight = self.get_base_weight().detach()
        if (gather := getattr(weight, "full_tensor", None)) is not None:  # DTensor's, whose import takes long
            weight = gather()  # divided among processes: every one of them must ask for it
        return weight.t() if isinstance(self.get_base_layer(), Conv1D) else weight

    def base_bias(self) -> Tensor | None:
        """Return the bias (out,), or None."""
        bias: Tensor | None = getattr(self.get_base_layer(), "bias", None)
        return bias

    def base_extended(self) -> Tensor:
        """Return [W | b] in fp32: (out, in[+1])."""
        return extended_weight(self.base_weight(), self.base_bias())

    def base_record(self, sketched: Tensor | None = None) -> Tensor:
        """Return the packed sketch of the base weight; while an adapter is merged in, the one from before merging.

        Args:
            sketched: the base's sketch where it is known, to save computing it.
        """
        if self.merged:
            return self.adamss_sketch[self.merged_adapters[0]]
        bits = None
        if self.quantization_backend is not None:
            bits = 4 if self.quantization_backend.backend_name == "bnb 4bit" else 8
        weight: Tensor = self.get_base_layer().weight
        if sketched is None:
            sketched = sketch_weight(self.base_weight(), self.base_bias())
        return pack_sketch(sketched, tolerance_of(weight.dtype, bits=bits))

    @property
    def parameter_dtype(self) -> torch.dtype:
        """Dtype in which A and B are made: fp32 for half-precision and quantised bases, as for LoRA; fp64 for fp64."""
        weight: Tensor = self.get_base_layer().weight
        return torch.float64 if weight.dtype == torch.float64 else torch.float32

    # --- adapters -------------------------------------------------------------------------------------------------

    def update_layer(
        self,
        adapter_name: str,
        decomposition: Decomposition,
        *,
        zero_b: bool,
        use_asa: bool,
        inference_mode: bool,
        removes_pruned: bool = False,
    ) -> None:
        """Add one adapter, started from `decomposition`.

        Args:
            zero_b: B starts at zero; otherwise at 0.01 times normal noise (`init_weights=None`).
            removes_pruned: subspaces that ASA prunes are removed, rather than frozen at their values.
        """
        device, dtype = decomposition.basis.device, self.parameter_dtype
        layout = decomposition.layout
        size = sum(layout.lengths_b)
        b = torch.zeros(size, device=device, dtype=dtype) if zero_b else torch.randn(size, device=device, dtype=dtype)
        self.install(adapter_name, decomposition.basis.to(dtype), layout, decomposition.a.to(dtype), b.mul_(0.01))
        self.adamss_sketch[adapter_name] = self.base_record(decomposition.sketch)
        if use_asa:
            self.adamss_asa[adapter_name] = AsaState(layout.num_subspaces, removes=removes_pruned)
        self.set_adapter(self.active_adapters, inference_mode=inference_mode)

    def install(self, adapter_name: str, basis: Tensor, layout: SubspaceLayout, a: Tensor, b: Tensor) -> None:
        """Replace basis, layout and values, and discard ASA's masks."""
        device = basis.device
        self.layouts[adapter_name] = layout
        self.adamss_newB[adapter_name] = basis
        self.adamss_rows[adapter_name] = layout.stored_rows().to(device)
        self.adamss_cells[adapter_name] = layout.cells().to(device)
        if (state := self.asa_state(adapter_name)) is not None:
            self.adamss_asa[adapter_name] = AsaState(layout.num_subspaces, removes=state.removes)
        for parameters, value in ((self.adamss_A, a), (self.adamss_B, b)):
            if adapter_name in parameters and not parameters[adapter_name].is_meta:
                replace_data(parameters[adapter_name], value)
            else:
                trained = adapter_name not in parameters or parameters[adapter_name].requires_grad
                parameters[adapter_name] = nn.Parameter(value, requires_grad=trained)

    def cast_adapter(self, adapter_name: str, *, to_base: bool) -> None:
        """Give A, B and basis the dtype they are made in, or with `to_base` that of a base in half precision.

        A quantised base has no dtype to compute in: its adapters stay as they are made.
        """
        base: torch.dtype = self.get_base_layer().weight.dtype
        dtype = base if to_base and base in HALF_PRECISION else self.parameter_dtype
        for parameters in (self.adamss_A, self.adamss_B):
            parameter = parameters[adapter_name]
            if parameter.dtype != dtype:
                parameters[adapter_name] = nn.Parameter(parameter.detach().to(dtype), parameter.requires_grad)
        self.adamss_newB[adapter_name] = self.adamss_newB[adapter_name].to(dtype)
        state = self.asa_state(adapter_name)
        if state is not None and state.frozen_a is not None and state.frozen_b is not None:
            state.frozen_a, state.frozen_b = state.frozen_a.to(dtype), state.frozen_b.to(dtype)

    def check_loaded(self, adapter_name: str) -> None:
        """Raise AdapterStateError while an adapter has no values yet (`low_cpu_mem_usage=True`).

        Stock PEFT computes with uninitialised memory then.
        """
        if self.adamss_A[adapter_name].is_meta and not self.get_base_layer().weight.is_meta:
            raise AdapterStateError(
                f"Adapter '{adapter_name}' has no values yet: low_cpu_mem_usage=True leaves them out.",
                hint="Load its weights, for example with peft.set_peft_model_state_dict, or make the adapter without "
                "low_cpu_mem_usage.",
                where=adapter_name,
            )

    def asa_state(self, adapter_name: str) -> AsaState | None:
        """Return ASA's state of an adapter; None where it does not use ASA."""
        if adapter_name not in self.adamss_asa:
            return None
        state = self.adamss_asa[adapter_name]
        assert isinstance(state, AsaState)
        return state

    def packed(self, adapter_name: str) -> tuple[Tensor, Tensor]:
        """Return packed A (R, r) and B (sum |I_k| r_k,) with pruned subspaces in place, detached."""
        a, b = self.adamss_A[adapter_name].detach(), self.adamss_B[adapter_name].detach()
        state = self.asa_state(adapter_name)
        if state is None:
            return a, b
        return assemble(a, state.frozen_a, state.live_a), assemble(b, state.frozen_b, state.live_b)

    def freeze_pruned(self, adapter_name: str, *, compact: bool) -> None:
        """Make the parameters follow `pruned_at`: pruned values move to `frozen_*`, where they stay for good.

        Where pruned subspaces are to be removed, their B is zero there. With `compact` the pruned rows leave the
        parameters (the objects stay the same); without it the shapes stay. Gradients are cut to
        fit. Averages are not: call this right after they were restarted.
        """
        state = self.asa_state(adapter_name)
        assert state is not None
        layout = self.layouts[adapter_name]
        packed_a, packed_b = self.packed(adapter_name)
        state.frozen_a, state.frozen_b = packed_a.clone(), packed_b.clone()
        device = packed_a.device
        if state.removes:
            state.frozen_b[~layout.spread(state.active, layout.lengths_b).to(device)] = 0
        for name, parameters, frozen, lengths in (
            ("live_a", self.adamss_A, state.frozen_a, layout.lengths_a),
            ("live_b", self.adamss_B, state.frozen_b, layout.lengths_b),
        ):
            parameter = parameters[adapter_name]
            before = getattr(state, name)
            mask = layout.spread(state.active, lengths).to(device)
            positions = torch.where(mask)[0]
            gradient = None if parameter.grad is None else assemble(parameter.grad, torch.zeros_like(frozen), before)
            if compact:
                setattr(state, name, positions)
                replace_data(parameter, frozen.index_select(0, positions))
                # An emptied parameter gets no gradient: optimizers pass it by.
                if gradient is not None and positions.numel() == 0:
                    gradient = None
                parameter.grad = None if gradient is None else gradient.index_select(0, positions)
            else:
                setattr(state, name, mask if frozen.dim() == 1 else mask[:, None])
                replace_data(parameter, frozen.clone())
                if gradient is not None:
                    parameter.grad = gradient * getattr(state, name)

    def check_asa(self, adapter_name: str, tensors: Any) -> None:
        """Raise AsaStateError unless `restore_asa` can take these tensors."""
        packed_a, packed_b = self.packed(adapter_name)
        check_exported(tensors, self.layouts[adapter_name].num_subspaces, packed_a, packed_b, self.module_name)

    def restore_asa(self, adapter_name: str, tensors: dict[str, Tensor]) -> None:
        """Restore the state that `AsaState.export` gave, parameter shapes included; the values of A and B stay.

        Raises:
            AsaStateError: the tensors do not fit this layer.
        """
        self.check_asa(adapter_name, tensors)
        packed_a, packed_b = self.packed(adapter_name)
        layout = self.layouts[adapter_name]
        state = AsaState(layout.num_subspaces, removes=False)
        state.restore_masks(tensors)
        replace_data(self.adamss_A[adapter_name], packed_a.clone())
        replace_data(self.adamss_B[adapter_name], packed_b.clone())
        self.adamss_asa[adapter_name] = state
        if any(rank > 0 for rank, active in zip(layout.ranks, state.active.tolist(), strict=True) if not active):
            self.freeze_pruned(adapter_name, compact=bool(tensors["compact"]))
        for name in AVERAGES:
            if name not in tensors:
                continue
            value = tensors[name].to(packed_a.device, torch.float32)
            live = state.live_a if name.endswith("_a") else state.live_b
            setattr(state, name, value.index_select(0, live) if state.compact and live is not None else value.clone())

    def _move_adapter_to_device_of_base_layer(self, adapter_name: str, device: torch.device | None = None) -> None:
        """Move without casting: a basis rounded to half precision is not the basis that was trained."""
        weight = getattr(self.get_base_layer(), "weight", None)
        target = device if device is not None else getattr(weight, "device", None)
        if target is None or target.type == "meta":
            return
        for name in (*self.adapter_layer_names, *self.other_param_names):
            tensors = getattr(self, name)
            if isinstance(tensors, nn.Module) and adapter_name in tensors:  # type: ignore[operator]
                item = tensors[adapter_name]  # type: ignore[index]
                if isinstance(item, nn.Module):
                    item.to(target)
                elif item.device != target and item.device.type != "meta":
                    tensors[adapter_name] = item.to(target)  # type: ignore[operator]

    # --- the delta ------------------------------------------------------------------------------------------------

    def lora_factors(self, adapter_name: str) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the delta as factors: down (R, in), up (out, R), bias delta (out,) or None; fp32 (fp64 for fp64).

        delta W = up @ down. The bias delta is up @ (A @ last column of the basis).
        """
        self.check_loaded(adapter_name)
        dtype, layout = self.parameter_dtype, self.layouts[adapter_name]
        basis, packed_a, packed_b = (
            value.to(dtype) for value in (self.adamss_newB[adapter_name], *self.packed(adapter_name))
        )
        fold = packed_a @ basis
        up = packed_b.new_zeros(layout.total_rank * layout.out_features)
        up.index_copy_(0, self.adamss_cells[adapter_name], packed_b)
        up = up.view(layout.total_rank, layout.out_features).t().contiguous()
        n_in = self.in_features
        return fold[:, :n_in], up, up @ fold[:, n_in] if fold.shape[1] > n_in else None

    def get_delta_weight(self, adapter_name: str) -> Tensor:
        """Return delta W in the base weight's orientation, fp32 (fp64 for an fp64 base)."""
        down, up, _ = self.lora_factors(adapter_name)
        delta = up @ down
        return delta.t() if isinstance(self.get_base_layer(), Conv1D) else delta

    def get_delta_bias(self, adapter_name: str) -> Tensor | None:
        """Return delta b (out,), or None where the base has no bias."""
        return self.lora_factors(adapter_name)[2]

    def has_frozen_bias(self, adapter_name: str) -> bool:
        """Return whether the adapter leaves the base's bias alone: its basis has zeros where the bias would be."""
        return self.base_bias() is None or not bool(self.adamss_newB[adapter_name][:, self.in_features].any())

    def supports_lora_conversion(self, adapter_name: str = DEFAULT_ADAPTER) -> bool:
        """Return whether PEFT may convert the layer: not with a trained bias, which only `export_lora` keeps."""
        return self.has_frozen_bias(adapter_name)

    # --- merging --------------------------------------------------------------------------------------------------

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Add the deltas to the base weight, in fp32 and rounded once.

        Raises:
            MergeError: a delta is not finite (with `safe_merge`), or the base's quantisation cannot be merged into.
        """
        for adapter_name in check_adapters_to_merge(self, adapter_names) or []:
            if adapter_name in self.adamss_A:
                self._add_delta(adapter_name, 1.0, safe=safe_merge)
                self.merged_adapters.append(adapter_name)

    def unmerge(self) -> None:
        """Subtract all merged deltas again."""
        if not self.merged:
            warnings.warn("Already unmerged. Nothing to do.", stacklevel=2)
            return
        while self.merged_adapters:
            adapter_name = self.merged_adapters.pop()
            if adapter_name in self.adamss_A:
                self._add_delta(adapter_name, -1.0, safe=False)

    @torch.no_grad()
    def _add_delta(self, adapter_name: str, sign: float, *, safe: bool) -> None:
        if self.quantization_backend is not None and not self.quantization_backend.supports_merge:
            raise MergeError(
                f"'{self.module_name}' is quantised in a way that cannot be merged into.",
                hint="Load the base model unquantised and merge there.",
                where=self.module_name,
            )
        base = self.get_base_layer()
        weight, bias = self.get_base_weight(), getattr(base, "bias", None)
        delta = self.get_delta_weight(adapter_name).to(weight.device)
        new_weight = (weight.to(delta.dtype) + sign * delta).to(weight.dtype)
        bias_delta = self.get_delta_bias(adapter_name)
        new_bias = None
        if bias is not None and bias_delta is not None:
            new_bias = (bias.to(delta.dtype) + sign * bias_delta.to(bias.device)).to(bias.dtype)
        finite = all(bool(torch.isfinite(value).all()) for value in (new_weight, new_bias) if value is not None)
        if safe and not finite:
            raise MergeError(
                f"Merging adapter '{adapter_name}' into '{self.module_name}' gives NaN or infinite weights.",
                hint="The adapter is damaged: load an earlier checkpoint of it.",
                where=self.module_name,
            )
        self.set_base_weight(new_weight)
        if bias is not None and new_bias is not None:
            bias.data = new_bias


def replace_data(parameter: nn.Parameter, value: Tensor) -> None:
    """Give a parameter other values, also of another shape, without replacing the object.

    Optimizers, schedulers and users refer to parameters by identity. A live graph (a `loss` variable, say)
    keeps the parameter's gradient accumulator with its old shape; assigning another dtype in between makes autograd
    drop it.
    """
    if parameter.shape != value.shape:
        parameter.grad = None
        parameter.data = value.new_empty(0, dtype=torch.float64 if value.dtype == torch.float32 else torch.float32)
    parameter.data = value
