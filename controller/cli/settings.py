"""Settings of the command line: environment variables, each with a command-line option that wins over it."""

from __future__ import annotations

from getpass import getuser
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


def _user() -> str:
    try:
        return getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        return "unknown"


class Settings(BaseSettings):
    """EVALINE_URL, EVALINE_AUTHOR, EVALINE_LANG."""

    model_config = SettingsConfigDict(env_prefix="EVALINE_")

    url: str = "http://127.0.0.1:8470"
    author: str = Field(default_factory=_user)
    lang: Literal["en", "ko"] = "en"
