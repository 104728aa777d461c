"""May this battery be run with this recipe on this station now? Every reason against it, not just the first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from config import DocumentError, DutModel, StationConfig, model_of_code
from controller.fault_words import fault_ko, said_ko
from controller.instruments import Instruments, capabilities_of
from controller.recipes import FaultyRecipeError, finding_line, load_recipe, tables_of
from controller.run import LOCAL, Job, dut_of
from controller.sampler import Sampler
from drivers.roles import BatteryReading
from sequences import GradeRules, Recipe, Sample, StationLimits
from sequences.check import check, check_rules
from sequences.findings import Pair

# a battery may not arrive with a cell further than this beyond its working window, V
CELL_MARGIN = 0.2
EMPTY_CELLS = "cell undervoltage"  # as battery monitors name it


@dataclass(frozen=True, slots=True)
class StartRequest:
    """Who wants to run which recipe (its text and where it came from) on which battery, why, and with what."""

    recipe_text: str
    recipe_source: str
    code: str
    author: str
    reason: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, str] = field(default_factory=dict)
    job: Job = LOCAL
    recipe_hash: str | None = None  # what its content must be, when somebody cares


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason against a start and what to do about it, in English and Korean; `reason` makes it."""

    code: str
    message: str
    hint: str
    message_ko: str
    hint_ko: str


def reason(code: str, message: Pair, hint: Pair) -> Reason:
    return Reason(code, message[0], hint[0], message[1], hint[1])


class StartRefusedError(Exception):
    """The start is refused for these reasons."""

    def __init__(self, reasons: list[Reason]) -> None:
        self.reasons = reasons
        super().__init__("; ".join(f"{reason.message} [{reason.code}]" for reason in reasons))

    @property
    def codes(self) -> list[str]:
        return [reason.code for reason in self.reasons]

    def as_json(self) -> list[dict[str, str]]:
        return [asdict(reason) for reason in self.reasons]


class RecipeError(Exception):
    """The recipe itself cannot run; one line a finding, each with its place in the file, in English and Korean."""

    def __init__(self, lines: list[Pair]) -> None:
        self.lines, self.lines_ko = [en for en, _ in lines], [ko for _, ko in lines]
        super().__init__("\n".join(self.lines))


def checked_recipe(request: StartRequest, model: DutModel, limits: StationLimits, rules: GradeRules) -> Recipe:
    """The recipe, checked for this battery, station and grade rules; raises RecipeError with every finding.

    Takes its time with a hostile recipe: call it in a thread."""
    dut = dut_of(model)
    try:
        tables = tables_of(request.tables)
        recipe, document = load_recipe(request.recipe_text, request.recipe_source, request.parameters, tables, dut)
    except FaultyRecipeError as error:
        raise RecipeError([(str(fault), fault.in_language("ko")) for fault in error.faults]) from None
    except DocumentError as error:
        raise RecipeError([(str(error), error.in_language("ko"))]) from None
    findings = [*check(recipe, dut, limits), *check_rules(recipe, rules)]
    if findings:
        raise RecipeError([(finding_line(document, f), finding_line(document, f, "ko")) for f in findings])
    return recipe


def battery_model(code: str, models: dict[str, DutModel]) -> DutModel:
    """The model a scanned code belongs to; raises StartRefusedError."""
    try:
        return model_of_code(code, models)
    except DocumentError as error:
        message = f"{error.source} {error.text.en}", f"스캔한 코드 {code!r}: {error.text.ko}"
        hint = "check the label, or add a battery model", "라벨을 확인하거나 배터리 모델을 추가하십시오"
        raise StartRefusedError([reason(error.code, message, hint)]) from None


def rated_limits(config: StationConfig) -> StationLimits:
    """What a station stands by its line file, whatever its instruments answer."""
    ratings = config.ratings
    return StationLimits(
        max_voltage=ratings.max_voltage_v,
        max_charge_current=ratings.max_charge_current_a,
        max_discharge_current=ratings.max_discharge_current_a,
        max_power=ratings.max_power_w,
        capabilities=capabilities_of(config),
    )


def station_limits(config: StationConfig, instruments: Instruments) -> StationLimits:
    """What the station stands: the tighter of its wiring and its cycler, and the roles it has."""
    rated = rated_limits(config)
    if "cycler" not in instruments.identities:
        return rated
    nominal = instruments.cycler.ratings
    return replace(
        rated,
        max_voltage=min(rated.max_voltage, nominal.voltage),
        max_charge_current=min(rated.max_charge_current, nominal.current),
        max_discharge_current=min(rated.max_discharge_current, nominal.current),
        max_power=min(rated.max_power, nominal.power),
    )


def reasons_against(
    request: StartRequest,
    model: DutModel,
    recipe: Recipe,
    config: StationConfig,
    instruments: Instruments,
    sampler: Sampler,
    latest: Sample | None,
    *,
    at_work: bool = False,
) -> list[Reason]:
    """Everything about station and battery, as they are now, that forbids this start.

    `at_work`: a run has closed the contactors and switched the output on, so they are no reasons of their own.
    """
    return [
        *_content(request, recipe),
        *_instruments(recipe, instruments),
        *_interlock(sampler, at_work),
        *_cycler(sampler, at_work),
        *_probes(recipe, model, config, instruments),
        *_battery(request, model, recipe, sampler),
        *_temperature(model, recipe, latest),
    ]


def _content(request: StartRequest, recipe: Recipe) -> Iterator[Reason]:
    if request.recipe_hash not in (None, recipe.content_hash):
        message = (
            f"recipe {recipe.id} has the hash {recipe.content_hash}, the order demands {request.recipe_hash}",
            f"레시피 {recipe.id} 의 해시는 {recipe.content_hash}, 작업 지시의 해시는 {request.recipe_hash} 입니다",
        )
        hint = (
            "bring the station and the MES to one version of the recipe",
            "스테이션과 MES 의 레시피 버전을 일치시키십시오",
        )
        yield reason("E-RECIPE-HASH", message, hint)


def _instruments(recipe: Recipe, instruments: Instruments) -> Iterator[Reason]:
    for role in (role for role, need in recipe.roles.items() if not need.optional):
        fault = instruments.faults.get(role)
        if fault is not None:
            message = f"{fault}", f"계측기 이상: {fault_ko(fault)}"
            hint = (
                "make it answer; the station keeps trying",
                "응답하도록 조치하십시오. 스테이션이 계속 연결을 시도합니다",
            )
            yield reason(fault.code, message, hint)
        elif role not in instruments.identities:
            message = f"{role}: not connected yet", f"{role}: 아직 연결되지 않았습니다"
            yield reason("E-NOT-CONNECTED", message, ("wait for its connection", "연결될 때까지 기다리십시오"))


def _interlock(sampler: Sampler, at_work: bool) -> Iterator[Reason]:
    chain = sampler.interlock
    if chain is None:
        message = "the interlock was not read", "인터록을 읽지 못했습니다"
        yield reason("E-INTERLOCK", message, ("check the PLC", "PLC 를 확인하십시오"))
        return
    stay_away = "do not approach; follow the site's fire plan", "접근하지 말고 현장 화재 대응 절차를 따르십시오"
    estop = "the emergency stop is pressed", "비상정지 버튼이 눌려 있습니다"
    release = "release it, then reset", "해제한 뒤 리셋하십시오"
    door = "the door is open", "도어가 열려 있습니다"
    close = "close it, then reset", "닫은 뒤 리셋하십시오"
    gas = "gas or smoke is detected", "가스 또는 연기가 감지되었습니다"
    loose = "no battery is clamped", "고정된 배터리가 없습니다"
    clamp = "clamp and plug the battery", "배터리를 고정하고 연결하십시오"
    inputs = (
        (chain.estop_ok, reason("E-INTERLOCK", estop, release)),
        (chain.door_closed, reason("E-INTERLOCK", door, close)),
        (chain.gas_ok, reason("E-INTERLOCK", gas, stay_away)),
        (chain.clamped, reason("E-INTERLOCK", loose, clamp)),
    )
    open_inputs = [against for good, against in inputs if not good]
    yield from open_inputs
    if (chain.contactor_closed and not at_work) or not chain.contactors_agree:
        message = "a contactor is closed that nobody asked for", "요청하지 않은 컨택터가 닫혀 있습니다"
        hint = (
            "isolate the station; check the contactors for welding and their feedback",
            "스테이션을 분리하고 컨택터의 융착과 피드백을 점검하십시오",
        )
        yield reason("E-CONTACTOR", message, hint)
    if not open_inputs and not chain.ready:
        cause = chain.trip_cause
        message = (
            f"the interlock is not ready: {cause or 'chain incomplete'}",
            f"인터록이 준비되지 않았습니다: {said_ko([cause]) or '체인 미완성'}",
        )
        hint = "remove the cause, then reset the station", "원인을 제거한 뒤 스테이션을 리셋하십시오"
        yield reason("E-INTERLOCK", message, hint)


def _cycler(sampler: Sampler, at_work: bool) -> Iterator[Reason]:
    cycler = sampler.cycler
    if cycler is not None and cycler.output_on and not at_work:
        message = "the cycler's output is on already", "충방전기 출력이 이미 켜져 있습니다"
        yield reason("E-OUTPUT-ON", message, ("run `evaline safe-state`", "`evaline safe-state` 를 실행하십시오"))
    if cycler is not None and cycler.alarms:
        alarms = ", ".join(cycler.alarms)
        message = f"the cycler reports {alarms}", f"충방전기 경보: {alarms}"
        yield reason("E-CYCLER-ALARM", message, ("clear its alarm", "경보를 해제하십시오"))


def _probes(recipe: Recipe, model: DutModel, config: StationConfig, instruments: Instruments) -> Iterator[Reason]:
    meter = instruments.impedance_meter
    if meter is None or "impedance_meter" not in recipe.roles:
        return
    first, last = config.impedance_probe_cells or (1, model.series_cells)
    if last > model.series_cells:
        message = (
            f"the impedance probes reach cells {first} to {last}, {model.id} has {model.series_cells}",
            f"임피던스 프로브는 {first}~{last}번 셀에 연결되어 있지만 {model.id} 의 셀은 {model.series_cells}개입니다",
        )
        hint = "correct impedance_probe_cells in the line file", "라인 파일의 impedance_probe_cells 를 수정하십시오"
        yield reason("E-PROBES", message, hint)
    volts = (last - first + 1) * model.cell_voltage_max_v
    if "impedance_meter" in instruments.identities and volts > meter.max_voltage:
        message = (
            f"the impedance probes would see {volts:g} V, the meter stands {meter.max_voltage:g} V",
            f"임피던스 프로브에 {volts:g} V 가 걸리지만 측정기의 한계는 {meter.max_voltage:g} V 입니다",
        )
        hint = "probe fewer cells, or use another meter", "측정 셀 수를 줄이거나 다른 측정기를 사용하십시오"
        yield reason("E-PROBES", message, hint)


def tolerated_faults(recipe: Recipe, battery: BatteryReading | None) -> frozenset[str]:
    """Faults of the BMS that are no reason against this recipe: empty cells where it empties them, and where it lets no
    current flow whatever the battery came with."""
    if not recipe.drives and battery is not None:
        return frozenset(battery.faults)
    return frozenset({EMPTY_CELLS}) if recipe.destructive else frozenset()


def _battery(request: StartRequest, model: DutModel, recipe: Recipe, sampler: Sampler) -> Iterator[Reason]:
    if "battery_monitor" not in recipe.roles:
        return
    battery = sampler.battery
    if battery is None or not battery.alive:
        message = "the battery's BMS does not answer", "배터리 BMS 가 응답하지 않습니다"
        hint = "check its plug and its 12 V supply", "커넥터와 12 V 전원을 확인하십시오"
        yield reason("E-BMS", message, hint)
        return
    if battery.code and battery.code != request.code:
        message = (
            f"scanned {request.code}, but the BMS says {battery.code}",
            f"스캔한 코드는 {request.code} 이지만 BMS 의 코드는 {battery.code} 입니다",
        )
        hint = "scan the battery that is on this station", "이 스테이션에 있는 배터리를 스캔하십시오"
        yield reason("E-DUT-MISMATCH", message, hint)
    if faults := sorted(set(battery.faults) - tolerated_faults(recipe, battery)):
        message = f"the BMS reports {', '.join(faults)}", f"BMS 고장 보고: {said_ko(faults)}"
        yield reason("E-BMS-FAULT", message, ("inspect the battery", "배터리를 점검하십시오"))
    if len(battery.cell_voltages) != model.series_cells:
        message = (
            f"the BMS reports {len(battery.cell_voltages)} cells, {model.id} has {model.series_cells}",
            f"BMS 가 보고한 셀은 {len(battery.cell_voltages)}개이지만 {model.id} 의 셀은 {model.series_cells}개입니다",
        )
        yield reason("E-DUT-CELLS", message, ("check the battery model", "배터리 모델을 확인하십시오"))
    cells = [cell for cell in battery.cell_voltages if cell is not None]
    if len(cells) < len(battery.cell_voltages):
        missing = len(battery.cell_voltages) - len(cells)
        message = f"{missing} cell voltages are not available", f"셀 전압 {missing}개를 읽을 수 없습니다"
        yield reason("E-CELL-MISSING", message, ("inspect the sense wiring", "전압 센싱 배선을 점검하십시오"))
    low = 0.0 if recipe.takes_empty else model.cell_voltage_min_v - CELL_MARGIN
    high = model.cell_voltage_max_v
    if cells and not low <= min(cells) <= max(cells) <= high:
        message = (
            f"cells are at {min(cells):.3f} to {max(cells):.3f} V, allowed are {low:g} to {high:g} V",
            f"셀 전압이 {min(cells):.3f}~{max(cells):.3f} V 입니다. 허용 범위는 {low:g}~{high:g} V 입니다",
        )
        yield reason("E-CELL-VOLTAGE", message, ("quarantine the battery", "배터리를 격리 보관하십시오"))
    needed = recipe.safety.insulation.trip * model.nominal_voltage_v
    if battery.insulation is None or battery.insulation < needed:
        kohm = None if battery.insulation is None else f"{battery.insulation / 1e3:g} kohm"
        message = (
            f"the insulation {'was not measured' if kohm is None else f'is {kohm}'}, needed are {needed / 1e3:g} kohm",
            f"절연저항 {'측정값이 없습니다' if kohm is None else kohm}. 필요한 값은 {needed / 1e3:g} kohm 입니다",
        )
        yield reason("E-INSULATION", message, ("do not touch the battery", "배터리에 손대지 마십시오"))


def _temperature(model: DutModel, recipe: Recipe, latest: Sample | None) -> Iterator[Reason]:
    if "temperature_scanner" not in recipe.roles:
        return
    low = latest.good("temperature_min") if latest else None
    high = latest.good("temperature_max") if latest else None
    if low is None or high is None:
        broken = ", ".join(str(n) for n, t in enumerate(latest.temperatures, 1) if t is None) if latest else ""
        message = "no temperature was measured", "온도가 측정되지 않았습니다"
        if broken:
            message = f"temperature channel {broken} is open", f"온도 채널 {broken} 이(가) 단선입니다"
        hint = "check the sensors on the battery", "배터리의 온도 센서를 확인하십시오"
        yield reason("E-TEMPERATURE", message, hint)
    elif not model.temperature_min_degc <= low <= high <= model.temperature_max_degc:
        least, most = model.temperature_min_degc, model.temperature_max_degc
        message = (
            f"the battery is at {low:g} to {high:g} degC, allowed are {least:g} to {most:g} degC",
            f"배터리 온도가 {low:g}~{high:g} degC 입니다. 허용 범위는 {least:g}~{most:g} degC 입니다",
        )
        yield reason("E-TEMPERATURE", message, ("let it soak", "온도가 안정될 때까지 두십시오"))
