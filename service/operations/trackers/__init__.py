"""Live export of a job's metrics to other tools: TensorBoard, MLflow, Weights & Biases.

Each tool is an optional extra (`pip install "adamss[tensorboard]"`), imported on first use.
"""

from service.operations.trackers.follow import TARGETS, Follower, MissingExtra, Target, follow, open_follower

__all__ = ["TARGETS", "Follower", "MissingExtra", "Target", "follow", "open_follower"]
