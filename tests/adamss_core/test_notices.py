from __future__ import annotations

import logging
import subprocess
import sys

import pytest

import adamss_core  # noqa: F401 - importing it is what drops the notice
from adamss_core.notices import KERNEL_LOGGER

NOTICE = "Failed to load CPU gemm_4bit_forward from kernels-community: %s. Please make sure"


def test_a_kernel_that_is_not_installed_is_no_news_and_everything_else_is(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger(KERNEL_LOGGER)
    logger.warning(NOTICE, ModuleNotFoundError("No module named 'kernels'"))
    assert caplog.messages == []
    logger.warning(NOTICE, OSError("the kernel is damaged"))
    logger.warning("Failed to load the library: %s", ModuleNotFoundError("No module named 'torch'"))
    logger.warning("%(count)d products were cast", {"count": 2})
    assert [message.split(":")[0] for message in caplog.messages] == [
        "Failed to load CPU gemm_4bit_forward from kernels-community",
        "Failed to load the library",
        "2 products were cast",
    ]


@pytest.mark.parametrize("module", ["adamss_core.training.run", "adamss_core.prediction", "adamss_core.inspection"])
def test_a_process_of_ours_says_nothing_when_it_loads_its_libraries(module: str) -> None:
    code = f"import logging; logging.basicConfig(level=logging.INFO); import {module}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout + done.stderr == ""
