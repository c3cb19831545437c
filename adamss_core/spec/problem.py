"""A spec of the right shape that cannot work, with the field at fault."""

from __future__ import annotations


class SpecProblem(Exception):
    """The spec has the right shape but cannot work.

    Attributes:
        param: JSON path of the field at fault.
        message: names the field, the reason and a remedy.
        code: for programs.
    """

    def __init__(self, param: str, message: str, code: str = "invalid_spec") -> None:
        super().__init__(message)
        self.param, self.message, self.code = param, message, code
