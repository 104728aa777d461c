from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from config import LineConfig, read_document
from controller.recipes import LIBRARY
from tests.virtual import demo_line

LIBRARY_RECIPE = read_document(LIBRARY / "quick_capacity_dcir.yaml").data

DISCHARGE = {
    "name": "discharge", "step": "cc", "direction": "discharge", "current": "C/2", "cell_voltage": "2.70 V",
    "ends": ["step_time >= 60 s"], "max_time": "5 min",
}  # fmt: skip
REST = {"name": "rest", "step": "rest", "duration": "10 s"}


@pytest.fixture
def short_recipe() -> Callable[..., str]:
    """Text of a recipe with the library's envelope and safety block but other steps, a minute long."""

    def build(steps: list[dict[str, Any]] | None = None, safety: dict[str, Any] | None = None) -> str:
        data = copy.deepcopy(LIBRARY_RECIPE)
        data["id"] = "short"
        data["steps"] = steps if steps is not None else [REST, DISCHARGE]
        data["measurements"] = [
            {
                "name": "temperatureMax",
                "title": {"en": "Highest temperature", "ko": "최고 온도"},
                "from": {"kind": "temperature_max"},
                "limits": {"max": "50 degC"},
            }
        ]
        data["safety"] |= safety or {}
        return yaml.safe_dump(data, allow_unicode=True, sort_keys=False)

    return build


@pytest.fixture
def line_with(tmp_path: Path) -> Callable[..., LineConfig]:
    """The demo line in a directory of the test's own, with faults for its simulated instruments."""

    def build(*faults: dict[str, Any], change: Callable[[dict[str, Any]], None] | None = None) -> LineConfig:
        def apply(data: dict[str, Any]) -> None:
            data["simulation"]["stations"]["st01"]["faults"] = list(faults)
            if change is not None:
                change(data)

        return demo_line(tmp_path, apply)

    return build
