"""The tuner: find and decompose the targets, insert the layers, and run ASA over all of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from peft import AdamssConfig
from peft.tuners.tuners_utils import (
    BaseTuner,
    _ExcludedModule,
)
from peft.utils import (
    TRANSFORMERS_MODELS_TO_ADAMSS_TARGET_MODULES_MAPPING,
    ModulesToSaveWrapper,
)
from torch import Tensor, nn

from adamss_core import asa
from adamss_core.asa_state import ACTIVE, NEVER
from adamss_core.bypassed import check_called
from adamss_core.compiled import plain_name
from adamss_core.config import check_adapter_name, list_layers, validate_config
from adamss_core.decomposition import Decomposition, decompose
from adamss_core.decomposition_cache import CacheFolder, as_cache
from adamss_core.errors import AdamssWarning, AsaStateError, ConfigError, MergeError
from adamss_core.layer import AdamssLayer
from adamss_core.linear import AdamssLinear
from adamss_core.removal import first_layout
from adamss_core.saved_modules import check_apart, resolve_saved_modules
from adamss_core.shared_weights import shares_weight
from adamss_core.spec.target_rule import TargetRule
from adamss_core.spec.without_effect import clamped_rank, idle_settings
from adamss_core.target_search import find_targets
from adamss_core.untying import finish_untied, inseparable_weights, is_always_tied, is_replaced, untie

DecomposeFunction = Callable[[str, Tensor, Tensor | None, AdamssConfig], Decomposition]


def decompose_with_cache(cache: CacheFolder | None, *, frozen_bias: bool = False) -> DecomposeFunction:
    """Return the decomposition that `AdamssModel` uses by default, through a cache folder where one is given."""
    # Not a lambda: the model must stay picklable.
    return partial(decompose, cache=as_cache(cache), frozen_bias=frozen_bias)


class AdamssModel(BaseTuner):
    """AdaMSS on a base model, in place of PEFT's own tuner (`PeftModel.base_model`).

    Args:
        model: the base model, changed in place.
        config: `peft.AdamssConfig`, or a dict of adapter name to config.
        adapter_name: name of the first adapter.
        decompose: source of decompositions: `(module name, W, b or None, config) -> Decomposition`.
        removes_pruned: subspaces that ASA prunes are removed, rather than frozen at their values.
    """

    prefix: str = "adamss_"
    tuner_layer_cls = AdamssLayer
    target_module_mapping = TRANSFORMERS_MODELS_TO_ADAMSS_TARGET_MODULES_MAPPING

    def __init__(
        self,
        model: nn.Module,
        config: AdamssConfig | dict[str, AdamssConfig],
        adapter_name: str,
        low_cpu_mem_usage: bool = False,
        state_dict: dict[str, Tensor] | None = None,
        *,
        decompose: DecomposeFunction | None = None,
        removes_pruned: bool = False,
    ) -> None:
        self.removes_pruned = removes_pruned
        self.decompose = decompose or decompose_with_cache(None)
        self.basis_kinds: dict[str, str] = {}  # of adapters whose basis is from data; see `calibration`
        self._planned: dict[str, Decomposition] = {}
        self._layers: dict[str, AdamssLayer] | None = None
        self._is_untied = False
        super().__init__(model, config, adapter_name, low_cpu_mem_usage=low_cpu_mem_usage, state_dict=state_dict)

    # --- inserting layers -----------------------------------------------------------------------------------------

    def inject_adapter(self, model: nn.Module, adapter_name: str, *args: Any, **kwargs: Any) -> None:
        """Check everything and decompose every target before the first module is changed.

        Raises:
            ConfigError, TargetError, BypassedTargetError, WeightError
        """
        config = self.peft_config[adapter_name]
        check_adapter_name(adapter_name, model)
        validate_config(config)
        config = self._prepare_adapter_config(config, self.get_model_config(model))
        list_layers(config)
        resolve_saved_modules(model, config)
        targets = find_targets(model, config)
        check_apart(config, [name for name, _ in targets], model)
        check_called(model, [name for name, _ in targets], trained=not config.inference_mode)
        self._layers = None
        self._planned = {name: self._decompose_target(name, target, config) for name, target in targets}
        if not config.inference_mode:
            self._warn_of_settings(config)
        try:
            super().inject_adapter(model, adapter_name, *args, **kwargs)
        finally:
            self._planned = {}

    def _decompose_target(self, name: str, target: nn.Module, config: AdamssConfig) -> Decomposition:
        layer = target if isinstance(target, AdamssLinear) else AdamssLinear(target, name)
        return self.decompose(name, layer.base_weight(), layer.base_bias(), config)

    def _warn_of_settings(self, config: AdamssConfig) -> None:
        widths = {name: min(len(plan.layout.rows), plan.basis.shape[1]) for name, plan in self._planned.items()}
        for message in [*idle_settings(config), *clamped_rank(config.r, widths)]:
            warnings.warn(message, AdamssWarning, stacklevel=2)

    def _prepare_adapter_config(self, peft_config: AdamssConfig, model_config: dict[str, Any]) -> AdamssConfig:
        if peft_config.target_modules is None and model_config.get("model_type") not in self.target_module_mapping:
            raise ConfigError(
                f"target_modules is not set, and there is no default for model type "
                f"{model_config.get('model_type')!r}.",
                hint="Name the linear layers to adapt, such as ['q_proj', 'v_proj'], or use 'all-linear'.",
                where="target_modules",
            )
        prepared: AdamssConfig = super()._prepare_adapter_config(peft_config, model_config)
        return prepared

    @staticmethod
    def _check_target_module_exists(peft_config: AdamssConfig, key: str) -> bool | _ExcludedModule:
        """Answer PEFT's injection by the rule that has planned it."""
        rule = TargetRule.of(peft_config)
        return _ExcludedModule() if rule.leaves_out(key) else rule.matches(key)

    def _create_and_replace(
        self,
        peft_config: AdamssConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,
    ) -> None:
        if isinstance(target, AdamssLinear):
            layer = target
        else:
            layer = AdamssLinear(target, current_key)
            layer.set_adapter(self.active_adapters)
        layer.update_layer(
            adapter_name,
            self._planned[current_key],
            zero_b=peft_config.init_weights == "orthogonal",
            use_asa=peft_config.use_asa,
            inference_mode=peft_config.inference_mode,
            removes_pruned=self.removes_pruned,
        )
        if layer is not target:
            self._replace_module(parent, target_name, layer, target)

    def _cast_adapter_dtype(self, adapter_name: str, autocast_adapter_dtype: bool = True) -> None:
        """Keep an adapter in fp32, or with `autocast_adapter_dtype=False` in the base's dtype, as PEFT does.

        PEFT calls this after it made or loaded an adapter.
        """
        for layer in self.adapted_layers(adapter_name).values():
            layer.cast_adapter(adapter_name, to_base=not autocast_adapter_dtype)

    def _replace_module(self, parent: nn.Module, child_name: str, new_module: nn.Module, child: nn.Module) -> None:
        """Put a module back; PEFT expects a linear layer, but a head such as RoBERTa's has no weight of its own."""
        if isinstance(child, ModulesToSaveWrapper):
            setattr(parent, child_name, new_module)
        else:
            super()._replace_module(parent, child_name, new_module, child)

    def delete_adapter(self, adapter_name: str) -> None:
        """Remove an adapter from all layers."""
        super().delete_adapter(adapter_name)
        self.basis_kinds.pop(adapter_name, None)
        self._layers = None

    # --- tied weights ---------------------------------------------------------------------------------------------

    def _check_merge_allowed(self) -> None:
        """Untie what an adapter or a copy trained in full stands in; PEFT calls this before it merges, and only warns.

        Raises:
            MergeError: an adapted module shares its weight with another one and cannot be untied.
        """
        adapted = {name for adapter in self.peft_config for name in self.adapted_layers(adapter)}
        shared = inseparable_weights(self.model)
        if both := [name for name in shared if name in adapted or is_replaced(name)]:
            name = both[0].removesuffix(".original_module")
            hint = "Use the adapter or its LoRA without merging."
            raise MergeError(shares_weight(name, shared[both[0]]), hint=hint, where=name)
        self._is_untied = untie(self.model) or self._is_untied

    def _unload_and_optionally_merge(self, *args: Any, **kwargs: Any) -> nn.Module:
        """Take the layers out as PEFT does, and make the config of a model that was untied say so."""
        with warnings.catch_warnings():
            if is_always_tied(self.model):  # PEFT clears the flag, and says so; it is set again
                warnings.filterwarnings("ignore", message="Input and output embeddings are no longer tied")
            model: nn.Module = super()._unload_and_optionally_merge(*args, **kwargs)
        if self._is_untied:
            finish_untied(model)
        return model

    # --- ASA ------------------------------------------------------------------------------------------------------

    def adapted_layers(self, adapter_name: str) -> dict[str, AdamssLayer]:
        """Return the layers that have this adapter by module name, in the model's order."""
        if self._layers is None:
            self._layers = {
                plain_name(name): module
                for name, module in self.model.named_modules()
                if isinstance(module, AdamssLayer)
            }
        return {name: layer for name, layer in self._layers.items() if adapter_name in layer.layouts}

    def update_and_allocate(
        self, global_step: int, optimizer: torch.optim.Optimizer | None = None, *, is_wrapped: bool | None = None
    ) -> None:
        """Run ASA for every active adapter that uses it; call it after each optimizer step, before `zero_grad`.

        Args:
            global_step: number of finished optimizer steps.
            optimizer: its state for pruned subspaces is freed, so that they cost no more time or memory.
            is_wrapped: whether a data-parallel wrapper holds the parameters, which then keep their shapes. By default
                so wherever processes are several.
        """
        wrapped = asa.is_distributed() if is_wrapped is None else is_wrapped
        for adapter in self.active_adapters:
            config = self.peft_config[adapter]
            if not config.use_asa or global_step < config.init_warmup:
                continue
            layers = list(self.adapted_layers(adapter).values())
            if global_step <= config.final_warmup:
                asa.update_importance(layers, adapter, config)
            total = sum(layer.layouts[adapter].num_subspaces for layer in layers)
            scheduled = asa.scheduled_subspaces(global_step, total, config)
            # After the ramp, prune once more if its last step was skipped.
            overdue = global_step > config.final_warmup and asa.count_active(layers, adapter) > scheduled
            if overdue or asa.is_mask_step(global_step, config):
                asa.prune(layers, adapter, scheduled, global_step, optimizer, is_wrapped=wrapped)

    def asa_summary(self, adapter_name: str | None = None) -> dict[str, Any]:
        """Return the state of all subspaces as plain JSON values.

        Returns:
            adapter: its name.
            total, active, target: numbers of subspaces (target is None without ASA).
            trainable_parameters: elements of A and B that are still trained.
            modules: module name -> list of subspaces, each with `index`, `rows` (|I_k|), `rank` (r_k; of a removed
                one, the former), `importance` (the current score; for a pruned one, the score it was pruned with),
                `active` and `pruned_at`.
            schedule: the mask steps, each with `step`, `wanted` (subspaces that the schedule allows) and `reached`
                (active ones after the step; None for a future step).
        """
        adapter = adapter_name or self.active_adapters[0]
        config = self.peft_config[adapter]
        layers = self.adapted_layers(adapter)
        modules = {name: _describe(layer, adapter) for name, layer in layers.items()}
        subspaces = [subspace for group in modules.values() for subspace in group]
        total = len(subspaces)
        steps = [s["pruned_at"] for s in subspaces if s["pruned_at"] is not None]
        states = [state for layer in layers.values() if (state := layer.asa_state(adapter)) is not None]
        passed = max((state.masked_at for state in states), default=NEVER)
        schedule = []
        for step in asa.mask_steps(config) if config.use_asa else []:
            reached = total - sum(pruned <= step for pruned in steps) if step <= passed else None
            schedule.append({"step": step, "wanted": asa.scheduled_subspaces(step, total, config), "reached": reached})
        return {
            "adapter": adapter,
            "total": total,
            "active": sum(s["active"] for s in subspaces),
            "target": min(config.asa_target_subspaces, total) if config.use_asa else None,
            "trainable_parameters": sum(
                a.numel() + b.numel()
                for layer in layers.values()
                for s, (a, b) in zip(
                    _describe_active(layer, adapter),
                    layer.layouts[adapter].unpack(*layer.packed(adapter)),
                    strict=True,
                )
                if s
            ),
            "modules": modules,
            "schedule": schedule,
        }

    def asa_state_dict(self) -> dict[str, Any]:
        """Return masks, averages, scores and shapes of every adapter that uses ASA, for an exact resume.

        A and B themselves are the adapter's; save them with `save_adapter` (which includes this state too).
        """
        return {
            adapter: {
                name: state.export(layer.layouts[adapter])
                for name, layer in self.adapted_layers(adapter).items()
                if (state := layer.asa_state(adapter)) is not None
            }
            for adapter, config in self.peft_config.items()
            if config.use_asa
        }

    def load_asa_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that `asa_state_dict` returned, all of it or nothing.

        Raises:
            AsaStateError: the state belongs to other adapters or modules, or was altered.
        """
        self._check_asa_state(state)
        for adapter, modules in state.items():
            for name, layer in self.adapted_layers(adapter).items():
                layer.restore_asa(adapter, modules[name])

    def _check_asa_state(self, state: Any) -> None:
        if not isinstance(state, dict) or not all(isinstance(modules, dict) for modules in state.values()):
            raise AsaStateError(
                "An ASA state is a dict of adapter name to module name to tensors.",
                hint="Give what asa_state_dict returned.",
                where="state",
            )
        for adapter, modules in state.items():
            if adapter not in self.peft_config or not self.peft_config[adapter].use_asa:
                raise AsaStateError(
                    f"The ASA state is for adapter '{adapter}', which this model does not train with ASA.",
                    hint=f"This model has {sorted(self.peft_config)}; load the adapter with use_asa=True first.",
                    where=adapter,
                )
            layers = self.adapted_layers(adapter)
            different = sorted(set(modules) ^ set(layers))
            if different:
                raise AsaStateError(
                    f"The ASA state and the model disagree on which modules are adapted: '{different[0]}' is in one "
                    "of them only.",
                    hint="Use the ASA state that was saved together with this adapter.",
                    where=different[0],
                )
            for name, layer in layers.items():
                layer.check_asa(adapter, modules[name])


def _describe_active(layer: AdamssLayer, adapter: str) -> list[bool]:
    state = layer.asa_state(adapter)
    return [True] * layer.layouts[adapter].num_subspaces if state is None else state.active.tolist()


def _describe(layer: AdamssLayer, adapter: str) -> list[dict[str, Any]]:
    layout, state = layer.layouts[adapter], layer.asa_state(adapter)
    ranks = first_layout(layer, adapter).ranks
    scores, pruned_at = [0.0] * layout.num_subspaces, [ACTIVE] * layout.num_subspaces
    if state is not None:
        pruned_at = state.pruned_at.tolist()
        current = state.score
        pieces = state.packed_scores()
        if pieces is not None:
            fresh = state.subspace_scores(layout, pieces[0].cpu(), pieces[1].cpu()).float()
            current = torch.where(state.active, fresh, state.score)
        scores = current.tolist()
    return [
        {
            "index": k,
            "rows": layout.sizes[k],
            "rank": ranks[k],
            "importance": scores[k],
            "active": pruned_at[k] == ACTIVE,
            "pruned_at": None if pruned_at[k] == ACTIVE else pruned_at[k],
        }
        for k in range(layout.num_subspaces)
    ]
