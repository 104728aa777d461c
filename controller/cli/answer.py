"""Questions of a running recipe: how people see them, and what their words mean."""

from __future__ import annotations

import math
from typing import Any

from controller.client import ApiError

_YES = frozenset({"yes", "y", "true", "ok", "good", "예", "네", "양호"})
_NO = frozenset({"no", "n", "false", "bad", "아니오", "아니요", "불량"})

WORDS = {
    "en": {
        "question": "question", "confirm": "yes or no", "number": "a number", "choice": "its number",
        "inspect": "good, or NAME=good NAME=bad for each",
    },
    "ko": {
        "question": "질문", "confirm": "yes(예) 또는 no(아니오)", "number": "숫자", "choice": "번호",
        "inspect": "good(양호), 또는 항목마다 이름=good 이름=bad",
    },
}  # fmt: skip


def question_lines(station: str, question: dict[str, Any], lang: str) -> list[str]:
    """The question, what there is to answer, and how."""
    words = WORDS[lang]
    items = question["items"]
    lines = [f"{words['question']}: {question['text'][lang]}"]
    if question["answer"] == "inspect":  # its text is its first item's
        lines = [f"{words['question']}:"]
    lines += [f"  {item['name']}  {item['text'][lang]}" for item in items]
    return [*lines, f"  evaline answer --station {station} ...   ({words[question['answer']]})"]


def answer_of(question: dict[str, Any] | None, words: list[str], station: str) -> Any:
    """What was meant, as the daemon takes it; raises ApiError with what could be answered."""
    if question is None:
        raise _refused(f"station {station} asks nothing now")
    kind, items = question["answer"], question["items"]
    said = " ".join(words).strip()
    match kind:
        case "confirm" if _truth(said) is not None:
            return _truth(said)
        case "number" if (number := _number(said)) is not None:
            return number
        case "choice":
            for item in items:
                if said in (item["name"], item["text"]["en"], item["text"]["ko"]):
                    return int(item["name"])
            raise _refused(f"{said!r} is none of the choices: {_listed(items)}")
        case "inspect":
            return _inspected(items, words)
    raise _refused(f"{said!r} is no answer: it takes {WORDS['en'][kind]}")


def _inspected(items: list[dict[str, Any]], words: list[str]) -> dict[str, bool]:
    names = [item["name"] for item in items]
    if len(words) == 1 and _truth(words[0]) is True:
        return dict.fromkeys(names, True)
    found = {}
    for word in words:
        name, _, said = word.partition("=")
        truth = _truth(said)
        if name not in names or truth is None:
            raise _refused(f"{word!r}: write NAME=good or NAME=bad for each of {', '.join(names)}")
        found[name] = truth
    missing = [name for name in names if name not in found]
    if missing:
        raise _refused(f"not answered: {', '.join(missing)}")
    return found


def _truth(said: str) -> bool | None:
    word = said.casefold()
    return True if word in _YES else False if word in _NO else None


def _number(said: str) -> float | None:
    try:
        number = float(said)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _listed(items: list[dict[str, Any]]) -> str:
    return ", ".join(f"{item['name']} ({item['text']['en']})" for item in items)


def _refused(message: str) -> ApiError:
    return ApiError(4, "E-ANSWER-REFUSED", [f"{message} [E-ANSWER-REFUSED]"])
