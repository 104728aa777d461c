"""Every refusal that people read is told in English and in Korean; the MES gets the English."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import asdict
from itertools import product
from pathlib import Path

from controller import states
from controller.fault_words import FAULTS, SAID, fault_ko, said_ko
from controller.mes.messages import ReasonData
from controller.start import StartRefusedError, reason
from drivers import InstrumentError, bms_gateway, errors, plc_interlock
from tests.sequences.checking import HANGUL

CONTROLLER = Path(states.__file__).parent
# what is for programs, by others' words, or for reports, which have their own tests
ELSEWHERE = {"mes", "sparkplug", "instruments", "report", "journal"}
FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef
Said = tuple[str, str, str]  # where, English, Korean: what of them does not depend on values


class _Reader:
    """What a function of ours may say, as its source has it; f-strings without their values."""

    def __init__(self, file: Path, function: FUNCTION) -> None:
        self._where, self._function = f"{file.name}:{function.name}", function
        arguments = function.args
        self._arguments = {a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}

    def said(self) -> Iterator[Said]:
        for call in (node for node in ast.walk(self._function) if isinstance(node, ast.Call)):
            match call.func, call.args, {keyword.arg: keyword.value for keyword in call.keywords}:
                case ast.Name("reason"), [code, message, hint], _:
                    where = f"{self._where} {ast.unparse(code)}"
                    for pair in (*self._pairs(message), *self._pairs(hint)):
                        yield from self._spoken(where, *pair)
                case ast.Name("Reason"), _, _:
                    assert self._function.name == "reason", f"{self._where}: `reason` takes both languages"
                case ast.Name("JSONResponse"), [ast.Dict(keys), *_], _:
                    told = {key.value for key in keys if isinstance(key, ast.Constant)}
                    for key in told & {"message", "findings"}:
                        assert f"{key}_ko" in told, f"{self._where}: {key} comes without its Korean"
                case ast.Name("AnswerRefusedError"), [en, ko], _:
                    yield from self._spoken(self._where, en, ko)
                case ast.Name("Text"), _, {"en": en, "ko": ko}:
                    yield from self._spoken(self._where, en, ko)

    def _spoken(self, where: str, en: ast.expr, ko: ast.expr) -> Iterator[Said]:
        if (
            not {node.id for node in (en, ko) if isinstance(node, ast.Name)} & self._arguments
        ):  # else said by the caller
            yield from ((where, *both) for both in product(self._texts(en), self._texts(ko)))

    def _pairs(self, node: ast.expr) -> list[tuple[ast.expr, ast.expr]]:
        match node:
            case ast.Tuple([en, ko]):
                return [(en, ko)]
            case ast.Name("line"):  # a finding of a recipe, and those have tests of their own
                return []
            case ast.Name(name):
                return [pair for value in self._assigned(name) for pair in self._pairs(value)]
        raise AssertionError(f"{self._where}: {ast.unparse(node)}: write the English and the Korean here")

    def _texts(self, node: ast.expr) -> list[str]:
        match node:
            case ast.Constant(str(text)):
                return [text]
            case ast.JoinedStr(parts):
                return ["".join(str(part.value) for part in parts if isinstance(part, ast.Constant))]
            case ast.Name(name):
                return [text for value in self._assigned(name) for text in self._texts(value)]
        raise AssertionError(f"{self._where}: {ast.unparse(node)}: write the text here")

    def _assigned(self, name: str) -> list[ast.expr]:
        found: list[ast.expr] = []
        for node in ast.walk(self._function):
            if isinstance(node, ast.Assign):
                match node.targets[0], node.value:
                    case ast.Name(target), value if target == name:
                        found.append(value)
                    case ast.Tuple(targets), ast.Tuple(values):
                        pairs = zip(targets, values, strict=True)
                        found += [
                            value for target, value in pairs if isinstance(target, ast.Name) and target.id == name
                        ]
        assert found, f"{self._where}: {name} is not assigned there"
        return found


def everything_said() -> list[Said]:
    files = [
        file for file in sorted(CONTROLLER.rglob("*.py")) if file.relative_to(CONTROLLER).parts[0] not in ELSEWHERE
    ]
    trees = [(file, ast.parse(file.read_text(encoding="utf-8"))) for file in files]
    functions = [(file, node) for file, tree in trees for node in ast.walk(tree) if isinstance(node, FUNCTION)]
    return [said for file, function in functions for said in _Reader(file, function).said()]


def test_whatever_is_refused_is_told_in_both_languages() -> None:
    """By the source itself, so that what is added tomorrow is held to it, too."""
    for where, en, ko in everything_said():
        assert not HANGUL.search(en), f"{where}: {en!r} is no English"
        assert HANGUL.search(ko), f"{where}: {ko!r} is no Korean"


def test_the_source_is_read_where_it_says_something() -> None:
    said = everything_said()
    for place in ("start.py:_interlock", "station.py:_standing", "states.py:__init__", "api.py:unknown", "_accepted"):
        assert any(place in where for where, _, _ in said), place
    codes = {where.split()[1].strip("'") for where, _, _ in said if " " in where}
    assert {"E-MODE", "E-OUTBOX", "E-RECIPE", "E-DUT-MISMATCH", "E-BMS", "fault.code", "error.code"} <= codes


# ----------------------------------------------------------------------------------------- what instruments say


def family(root: type[InstrumentError]) -> Iterator[type[InstrumentError]]:
    yield root
    for kind in root.__subclasses__():
        yield from family(kind)


def test_every_fault_of_a_driver_or_link_has_its_korean() -> None:
    of_links = {value for name, value in vars(errors).items() if name.isupper() and str(value).startswith("E-LINK-")}
    of_drivers = {kind.code for kind in family(InstrumentError) if kind.__module__ == errors.__name__}
    assert of_links | of_drivers == FAULTS.keys()
    assert all(HANGUL.search(korean) for korean in FAULTS.values())


def test_a_fault_is_told_with_what_was_said_of_it() -> None:
    late = errors.LinkError(errors.TIMEOUT, "no answer within 2 s", instrument="cycler")
    assert fault_ko(late) == "cycler: 응답 시간 초과 (no answer within 2 s)"

    class OwnError(InstrumentError):
        code = "E-OWN"

    assert fault_ko(OwnError("boom")) == "-: 계측기 오류 (boom)", "of a driver that others wrote"


def test_every_cause_and_every_fault_that_is_named_has_its_korean() -> None:
    named = {*filter(None, plc_interlock.TRIP_CAUSES), *bms_gateway.FAULTS}
    assert named == SAID.keys()
    assert all(HANGUL.search(korean) for korean in SAID.values())
    assert said_ko(["door", "fault 31"]) == "도어, fault 31"


# --------------------------------------------------------------------------------------------------- who gets what


def test_programs_get_both_languages_and_the_mes_the_english() -> None:
    refused = StartRefusedError([reason("E-BMS", ("it is silent", "응답 없음"), ("look", "확인"))])
    assert str(refused) == "it is silent [E-BMS]"
    (told,) = refused.as_json()
    assert told == asdict(refused.reasons[0])
    assert told | {"message_ko": "응답 없음", "hint_ko": "확인"} == told
    assert ReasonData(**told).model_dump() == {"code": "E-BMS", "message": "it is silent", "hint": "look"}
