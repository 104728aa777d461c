"""Programs of other makers that our words are held against: brokers, instrument clients, JavaScript packages.

A test that needs one asks for it here. Where it is not installed the test is skipped and says how to get it; in CI,
which installs them all (`.ci/run` sets EVALINE_PEERS=required), a missing one is a failure.
"""

from __future__ import annotations

import importlib
import os
import shutil
from pathlib import Path
from typing import Any, NoReturn

import pytest

NODE = Path(__file__).parent / "node"


def program(name: str, debian: str = "") -> str:
    """The path of an installed program; `debian` is its package when that is named otherwise."""
    folders = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
    return shutil.which(name, path=folders) or unavailable(f"{name} is not installed: apt-get install {debian or name}")


def python_package(name: str, distribution: str = "") -> Any:
    """An importable package of the `dev` extra; `distribution` is its name there when that is another one."""
    try:
        return importlib.import_module(name)
    except ImportError:
        unavailable(f"{distribution or name} is not installed: pip install -c constraints.txt -e '.[dev]'")


def node_package(name: str) -> Path:
    """The folder in which `node` finds an npm package, to be used as the working directory."""
    program("node", "nodejs")
    if not (NODE / "node_modules" / name).is_dir():
        unavailable(f"npm package {name} is not installed: npm install --prefix tests/node")
    return NODE


def unavailable(why: str) -> NoReturn:
    """Skip this test; fail it where every peer is required."""
    if os.environ.get("EVALINE_PEERS") == "required":
        pytest.fail(why)
    pytest.skip(why)
