"""A recipe's text as the command line and the daemon read it: what is wrong with a recipe that it calls."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from controller import recipes
from controller.recipes import FaultyRecipeError, load_recipe
from tests.sequences.checking import HANGUL
from tests.sequences.playing import call, document, rest


def test_a_called_recipe_at_fault_is_told_of_in_the_readers_language(monkeypatch: pytest.MonkeyPatch) -> None:
    library: dict[str, Any] = {
        "deep": document(call("c", "sub", count=7), id="deep"),
        "sub": document(
            {"step": "acir", "name": "acir", "readings": "$count", "reading": 1}, id="sub",
            parameters={"count": {"default": 5}},
        ),
    }  # fmt: skip
    monkeypatch.setattr(recipes, "library_data", library.__getitem__)
    text = yaml.safe_dump(document(rest(), call("outer", "deep")), allow_unicode=True, sort_keys=False)
    with pytest.raises(FaultyRecipeError) as refused:
        load_recipe(text, "x.yaml")
    (fault,) = refused.value.faults
    assert fault.code == "E-CALL"
    assert text.splitlines()[fault.line - 1].strip() == "recipe: deep"
    english, korean = fault.in_language("en"), fault.in_language("ko")
    assert "steps.1.recipe: the called recipe 'deep' -> 'sub' is at fault: steps.0.acir.reading: unknown key" in english
    assert "did you mean 'readings'" in english
    assert "steps.1.recipe: 호출한 레시피 'deep' -> 'sub' 오류: steps.0.acir.reading: 알 수 없는 키입니다" in korean
    assert not HANGUL.search(english)
