"""Words for people, in English and Korean, and faults that speak both."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Text(BaseModel):
    """The same words in English and Korean."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    en: Annotated[str, Field(description="In English.")]
    ko: Annotated[str, Field(description="In Korean.")]

    def __str__(self) -> str:
        return self.en

    def in_language(self, lang: str) -> str:
        return self.ko if lang == "ko" else self.en


class FaultError(ValueError):
    """A value of a recipe that cannot be meant; `code` names the fault where it has a name of its own.

    `path` is the value's place in the document, where whoever raises it knows that.
    """

    def __init__(self, en: str, ko: str, code: str = "", path: tuple[str | int, ...] = ()) -> None:
        self.text, self.code, self.path = Text(en=en, ko=ko), code, path
        super().__init__(en)
