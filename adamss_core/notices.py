"""A notice of a library that is about nothing the user asked for."""

from __future__ import annotations

import logging

KERNEL_LOGGER = "bitsandbytes.backends.cpu.ops"


def drop_kernel_notice() -> None:
    """Drop bitsandbytes' notice that the package `kernels` is not installed.

    Importing peft imports bitsandbytes wherever it is installed, and on CPUs with bf16 units each process then says so,
    quantised or not. The kernel is for weights that are rearranged in place, which a quantised run prevents anyway. A
    kernel that is installed and fails is still reported, as is everything else.
    """
    logging.getLogger(KERNEL_LOGGER).addFilter(_is_wanted)


def _is_wanted(record: logging.LogRecord) -> bool:
    arguments = record.args if isinstance(record.args, tuple) else ()
    missing = any(isinstance(argument, ModuleNotFoundError) for argument in arguments)
    return not (missing and "gemm_4bit_forward" in str(record.msg))
