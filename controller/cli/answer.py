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
        "inspect": "good, or NAME=good NAME=bad for each", "item": "(good or bad)",
        "no_item": "  {said!r} is neither good nor bad",
        "nothing": "station {station} asks nothing now", "none": "{said!r} is none of the choices: {choices}",
        "no": "{said!r} is no answer: it takes {wanted}",
        "each": "{word!r}: write NAME=good or NAME=bad for each of {names}", "missing": "not answered: {names}",
    },
    "ko": {
        "question": "질문", "confirm": "예(yes) 또는 아니오(no)", "number": "숫자", "choice": "번호",
        "inspect": "양호(good), 또는 항목마다 이름=양호 이름=불량", "item": "(양호/불량)",
        "no_item": "  {said!r}: 양호 또는 불량으로 답하십시오",
        "nothing": "스테이션 {station} 에 지금 답할 질문이 없습니다",
        "none": "{said!r} 은(는) 선택 항목에 없습니다: {choices}",
        "no": "{said!r} 은(는) 답이 될 수 없습니다. 답할 내용: {wanted}",
        "each": "{word!r}: 항목 {names} 마다 이름=양호 또는 이름=불량으로 쓰십시오",
        "missing": "답하지 않은 항목: {names}",
    },
}  # fmt: skip


def question_lines(station: str, question: dict[str, Any], lang: str) -> list[str]:
    """The question, what there is to answer, and how."""
    items, how = item_lines(question, lang), how_to_answer(station, question, lang)
    return [question_text(question, lang), *items, how]


def question_text(question: dict[str, Any], lang: str) -> str:
    words = WORDS[lang]
    if question["answer"] == "inspect":  # its text is its first item's
        return f"{words['question']}:"
    return f"{words['question']}: {question['text'][lang]}"


def item_lines(question: dict[str, Any], lang: str) -> list[str]:
    """What there is to choose from or to look at."""
    return [f"  {item['name']}  {item['text'][lang]}" for item in question["items"]]


def how_to_answer(station: str, question: dict[str, Any], lang: str) -> str:
    return f"  evaline answer --station {station} ...   ({WORDS[lang][question['answer']]})"


def answer_of(question: dict[str, Any] | None, words: list[str], station: str, lang: str = "en") -> Any:
    """What was meant, as the daemon takes it; raises ApiError with what could be answered."""
    texts = WORDS[lang]
    if question is None:
        raise _refused(texts["nothing"].format(station=station))
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
            choices = ", ".join(f"{item['name']} ({item['text'][lang]})" for item in items)
            raise _refused(texts["none"].format(said=said, choices=choices))
        case "inspect":
            return _inspected(items, words, texts)
    raise _refused(texts["no"].format(said=said, wanted=texts[kind]))


def _inspected(items: list[dict[str, Any]], words: list[str], texts: dict[str, str]) -> dict[str, bool]:
    names = [item["name"] for item in items]
    if len(words) == 1 and _truth(words[0]) is True:
        return dict.fromkeys(names, True)
    found = {}
    for word in words:
        name, _, said = word.partition("=")
        truth = _truth(said)
        if name not in names or truth is None:
            raise _refused(texts["each"].format(word=word, names=", ".join(names)))
        found[name] = truth
    missing = [name for name in names if name not in found]
    if missing:
        raise _refused(texts["missing"].format(names=", ".join(missing)))
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


def _refused(message: str) -> ApiError:
    return ApiError(4, "E-ANSWER-REFUSED", [f"{message} [E-ANSWER-REFUSED]"])
