"""When a step ends, and where the run goes then."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema, core_schema

from sequences.expression import Condition, Evaluation, Scope
from sequences.quantity import PARAMETER, Duration, amount
from sequences.text import FaultError, Text

# signal -> (dimension, what it is); `current <= C/10` compares with a multiple of the rated capacity
SIGNALS: dict[str, tuple[str, Text]] = {
    "voltage": ("voltage", Text(en="voltage of the whole battery", ko="배터리 전체 전압")),
    "current": ("current", Text(en="magnitude of the current", ko="전류의 크기")),
    "power": ("power", Text(en="magnitude of the power", ko="전력의 크기")),
    "charge": ("charge", Text(en="net charge moved since the step began, its magnitude", ko="스텝 시작 후 순 전하량")),
    "energy": ("energy", Text(en="net energy moved since the step began, its magnitude", ko="스텝 시작 후 순 에너지")),
    "depth": ("fraction", Text(en="`charge` as a share of the battery's capacity as best known",
                               ko="알려진 용량에 대한 charge의 비율")),
    "soc": ("fraction", Text(en="state of charge, counted from the last known point", ko="충전 상태 (SOC)")),
    "voltage_rate": ("voltage_rate", Text(en="dV/dt of the battery over the last minute", ko="전압 변화율 (1분)")),
    "cell_rate": ("voltage_rate", Text(en="dV/dt of the mean cell over the last minute", ko="평균 셀 변화율 (1분)")),
    "current_rate": ("current_rate", Text(en="dI/dt over the last minute", ko="전류 변화율 (1분)")),
    "temperature_rate": ("temperature_rate", Text(en="dT/dt of the hottest sensor over the last minute",
                                                  ko="온도 상승률 (1분)")),
    "cell_min": ("voltage", Text(en="lowest cell voltage", ko="최저 셀 전압")),
    "cell_max": ("voltage", Text(en="highest cell voltage", ko="최고 셀 전압")),
    "cell_spread": ("voltage", Text(en="highest minus lowest cell voltage", ko="셀 전압 편차")),
    "temperature_min": ("temperature", Text(en="coldest sensor on the battery", ko="최저 온도")),
    "temperature_max": ("temperature", Text(en="hottest sensor on the battery", ko="최고 온도")),
    "chamber_temperature": ("temperature", Text(en="air of the chamber", ko="챔버 온도")),
    "insulation": ("insulation", Text(en="insulation resistance by the BMS, per volt of nominal voltage",
                                      ko="BMS 절연저항 (공칭 전압 1 V당)")),
    "battery_voltage": ("voltage", Text(en="voltage of the whole battery by its BMS", ko="BMS가 측정한 배터리 전압")),
    "bms_faults": ("number", Text(en="how many faults the BMS reports", ko="BMS가 보고한 고장 수")),
    "step_time": ("time", Text(en="time in this step, holds excluded", ko="스텝 경과 시간 (홀드 제외)")),
    "total_time": ("time", Text(en="time in this run, holds excluded", ko="실행 경과 시간 (홀드 제외)")),
}  # fmt: skip

# what every expression may use besides signals, variables and measurements
CONSTANTS: dict[str, tuple[str, Text]] = {
    "rated_capacity": ("charge", Text(en="rated capacity of the battery model", ko="정격 용량")),
    "rated_energy": ("energy", Text(en="rated energy of the battery model", ko="정격 에너지")),
    "nominal_voltage": ("voltage", Text(en="nominal voltage of the battery model", ko="공칭 전압")),
}


class Strict(BaseModel):
    """Part of a document: unknown keys are errors.

    In Python a field goes by its own name too, where its key is a word of Python's (`source` for `from`); documents are
    read with `by_name=False` and have the key alone.
    """

    # strict: a truth is no number, and the text "no" no truth
    model_config = ConfigDict(
        extra="forbid", frozen=True, arbitrary_types_allowed=True, strict=True, validate_by_name=True
    )

    def to_data(self) -> dict[str, Any]:
        """As a document has it: what goes without saying is not said."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)


# ------------------------------------------------------------------------------------------------------- routes

Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,47}$", title="name")]
RouteKind = Literal["next", "goto", "retry", "fail", "hold", "abort"]

_ROUTE = re.compile(r"(next|fail|hold|abort)|(retry) (\d{1,2})|(goto) ([a-z][a-z0-9_]{0,47})(?: max (\d{1,3}))?")


@dataclass(frozen=True, slots=True)
class Route:
    """Where a run goes after a step: `next`, `goto NAME`, `goto NAME max N`, `retry N`, `fail`, `hold`, `abort`.

    A jump back needs its `max`, and only that has one: how often it may be taken while its list of steps is gone
    through once, so that each round of a loop has as many; after that the run goes on with the next step, as after the
    last retry it fails.

    What went wrong in a step counts for the run's verdict wherever the run goes then; only a retry of that step or a
    jump back from it makes good for it.
    """

    kind: RouteKind
    target: str = ""
    count: int = 0

    @property
    def text(self) -> str:
        match self.kind:
            case "goto":
                return f"goto {self.target} max {self.count}" if self.count else f"goto {self.target}"
            case "retry":
                return f"retry {self.count}"
            case kind:
                return kind

    @classmethod
    def parse(cls, text: Any) -> Route:
        if isinstance(text, Route):
            return text
        match = _ROUTE.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise FaultError(
                f"{text!r:.60} is no route: next, goto NAME, goto NAME max N, retry N, fail, hold or abort",
                f"{text!r:.60} 은(는) 경로가 아닙니다: next, goto NAME, goto NAME max N, retry N, fail, hold, abort",
                "E-ROUTE",
            )
        plain, retry, times, _goto, target, most = match.groups()
        if plain:
            return cls(cast(RouteKind, plain))
        return cls("retry", count=int(times)) if retry else cls("goto", target, int(most or 0))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        serialize = core_schema.plain_serializer_function_ser_schema(lambda route: route.text)
        return core_schema.no_info_plain_validator_function(cls.parse, serialization=serialize)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        examples = ["next", "goto charge", "goto charge max 3", "retry 2", "fail", "hold", "abort"]
        pattern = rf"^({_ROUTE.pattern})$|{PARAMETER}"
        return {"title": "route", "type": "string", "pattern": pattern, "examples": examples}


NEXT, FAIL, ABORT = Route("next"), Route("fail"), Route("abort")


# --------------------------------------------------------------------------------------------------------- ends


class End(Strict):
    """A condition that ends a step, and where the run goes then. May be written as plain text.

    Several ends of a step are alternatives, `and` inside one joins comparisons. A time-qualified end is judged once
    `at` a time of the step, only `before` it, or only `after` it.
    """

    when: Annotated[Condition, Field(description="The comparison or comparisons that must be true.")]
    hold: Annotated[Duration, Field(description="How long it must be true without a gap before it counts.")] = amount(
        "0 s"
    )
    at: Annotated[Duration | None, Field(description="Judge it once, at this time of the step.")] = None
    before: Annotated[Duration | None, Field(description="Judge it before this time of the step only.")] = None
    after: Annotated[Duration | None, Field(description="Judge it after this time of the step only.")] = None
    then: Annotated[Route, Field(description="Where the run goes: next unless said otherwise.")] = NEXT

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        reference = handler(schema)
        end = handler.resolve_ref_schema(reference)
        short = {**end["properties"]["when"], "description": end["description"]}
        long = {key: end.pop(key) for key in ("type", "properties", "required", "additionalProperties")}
        end["anyOf"] = [short, long]
        return reference

    @model_validator(mode="before")
    @classmethod
    def short_form(cls, data: Any) -> Any:
        return {"when": data} if isinstance(data, str) else data

    @model_validator(mode="after")
    def one_time_only(self) -> End:
        given = [name for name in ("at", "before", "after") if getattr(self, name) is not None]
        if "at" in given and (len(given) > 1 or self.hold):
            raise FaultError(
                "an end judged `at` one moment has no `before`, `after` or `hold`",
                "`at` 으로 판정하는 종료 조건에는 `before`, `after`, `hold` 를 쓸 수 없습니다",
                "E-END-TIME",
            )
        if self.before is not None and self.after is not None and self.after >= self.before:
            raise FaultError(
                "`after` must come before `before`", "`after` 는 `before` 보다 앞서야 합니다", "E-END-TIME"
            )
        return self


class Watch:
    """Watches one End while its step runs."""

    def __init__(self, end: End) -> None:
        self.end = end
        self._evaluation = Evaluation(end.when)
        self._since: float | None = None
        self._judged = False

    def met(self, scope: Scope, step_time: float) -> bool:
        """Show it the present; an unknown value breaks the streak."""
        end = self.end
        true = self._evaluation.true(scope)
        if end.at is not None:
            if self._judged or step_time < end.at:
                return False
            self._judged = True
            return true
        outside = (end.before is not None and step_time >= end.before) or (
            end.after is not None and step_time < end.after
        )
        if not true or outside:
            self._since = None
            return False
        if self._since is None:
            self._since = step_time
        return round(step_time - self._since, 6) >= end.hold
