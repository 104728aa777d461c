"""What SCPI instruments answer alike, whoever made them."""

from __future__ import annotations

from drivers.errors import AnswerError
from drivers.numbers import parse_integer


def parse_error(answer: str) -> tuple[int, str]:
    """Read `-221,"Settings conflict"`: code and text; code 0 is no error."""
    code, comma, text = answer.partition(",")
    if not comma:
        raise AnswerError("expected a code and a text from SYST:ERR?", answer)
    return parse_integer(code, -32768, 32767), text.strip().strip('"')
