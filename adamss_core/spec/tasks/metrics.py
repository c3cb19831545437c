"""The metrics of an evaluation: name, title, and the direction that is better."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Direction = Literal["max", "min"]
IntervalMethod = Literal["wilson", "fisher", "fisher_ranks", "bootstrap"]


@dataclass(frozen=True)
class Metric:
    """A number of each evaluation.

    Attributes:
        name: as in `training.metric_for_best`; results carry it as `eval_<name>`.
        title: for cards and pages.
        direction: "max" where a larger value is better.
        hub: the metric's id on the Hugging Face hub; None where it has none.
        is_share: whether the value is a share of one, shown as a percentage.
        bounds: least and greatest value that it can have, within which a bootstrap's interval stays.
        interval: how its confidence interval over held-out rows is computed (`adamss_core.training.confidence`).
    """

    name: str
    title: str
    direction: Direction = "max"
    hub: str | None = None
    is_share: bool = True
    bounds: tuple[float, float] = (-math.inf, math.inf)
    interval: IntervalMethod = "bootstrap"

    @property
    def higher_is_better(self) -> bool:
        return self.direction == "max"


SHARE = (0.0, 1.0)
LOSS = Metric("loss", "Loss", "min", is_share=False, bounds=(0.0, math.inf))
ACCURACY = Metric("accuracy", "Accuracy", hub="accuracy", interval="wilson")
MACRO_F1 = Metric("macro_f1", "Macro F1", hub="f1", bounds=SHARE)
MICRO_F1 = Metric("micro_f1", "Micro F1", hub="f1", bounds=SHARE)
ENTITY_F1 = Metric("f1", "Entity F1", hub="f1", bounds=SHARE)
MATTHEWS = Metric("matthews", "Matthews correlation", hub="matthews_correlation", is_share=False, bounds=(-1.0, 1.0))
PEARSON = Metric("pearson", "Pearson correlation", hub="pearsonr", is_share=False, interval="fisher")
SPEARMAN = Metric("spearman", "Spearman correlation", hub="spearmanr", is_share=False, interval="fisher_ranks")
TOKEN_ACCURACY = Metric("token_accuracy", "Token accuracy", bounds=SHARE)
PERPLEXITY = Metric("perplexity", "Perplexity", "min", hub="perplexity", is_share=False, bounds=(1.0, math.inf))
