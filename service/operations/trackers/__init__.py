"""A job's numbers in other tools, as they come: TensorBoard, MLflow, Weights & Biases.

Each tool is an optional extra (`pip install "adamss[tensorboard]"`), imported when it is asked for.
"""

from service.operations.trackers.follow import TARGETS, Follower, MissingExtra, Target, follow, open_follower

__all__ = ["TARGETS", "Follower", "MissingExtra", "Target", "follow", "open_follower"]
