"""The report's words for what the journal says in codes, in English and Korean, and numbers as people read them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sequences import Verdict


class Pair(NamedTuple):
    """The same in English and Korean."""

    en: str
    ko: str


VERDICTS = {str(verdict): Pair(str(verdict).capitalize(), verdict.ko) for verdict in Verdict}
SAFETY = {
    "cell_voltage_max": Pair("Highest cell voltage", "최고 셀 전압"),
    "cell_voltage_min": Pair("Lowest cell voltage", "최저 셀 전압"),
    "cell_spread": Pair("Cell voltage spread", "셀 전압 편차"),
    "voltage_max": Pair("Highest voltage", "최고 전압"),
    "voltage_min": Pair("Lowest voltage", "최저 전압"),
    "charge_current": Pair("Charge current", "충전 전류"),
    "discharge_current": Pair("Discharge current", "방전 전류"),
    "temperature_max": Pair("Highest temperature", "최고 온도"),
    "temperature_min": Pair("Lowest temperature", "최저 온도"),
    "temperature_rise": Pair("Temperature rise", "온도 상승률"),
    "insulation": Pair("Insulation resistance", "절연저항"),
    "total_throughput": Pair("Charge moved in total", "총 전하 이동량"),
    "total_time": Pair("Total time", "총 시간"),
}
OFF_STEPS = {
    "ramp to zero": Pair("Ramp to zero", "전류를 0으로 감소"),
    "current is zero": Pair("Current is zero", "전류 0 확인"),
    "output off": Pair("Output off", "출력 차단"),
    "contactor open": Pair("Contactor open", "컨택터 개방"),
}
STEP_KINDS = {
    "rest": Pair("rest", "휴지"),
    "cc": Pair("constant current", "정전류"),
    "cv": Pair("constant voltage", "정전압"),
    "cccv": Pair("constant current, constant voltage", "정전류 정전압"),
    "cp": Pair("constant power", "정전력"),
    "cr": Pair("constant resistance", "정저항"),
    "pulse": Pair("pulses", "펄스"),
    "go_to_soc": Pair("to a state of charge", "목표 SOC 이동"),
    "profile": Pair("profile", "프로파일"),
    "identify": Pair("identification", "식별"),
    "prompt": Pair("question", "질문"),
    "inspect": Pair("inspection", "외관 검사"),
    "insulation": Pair("insulation test", "절연 시험"),
    "ocv": Pair("open-circuit voltage", "개방 전압"),
    "acir": Pair("1 kHz resistance", "교류저항 (1 kHz)"),
    "eis": Pair("impedance spectrum", "임피던스 스펙트럼"),
    "set_temperature": Pair("soak", "온도 안정화"),
    "measure": Pair("evaluation", "평가"),
    "set": Pair("set point", "설정"),
    "wait_until": Pair("wait", "대기"),
    "compute": Pair("computation", "계산"),
    "check": Pair("check", "점검"),
    "grade": Pair("provisional grade", "임시 등급"),
    "publish": Pair("message", "통보"),
    "python": Pair("site function", "현장 함수"),
}
INSTRUMENTS = {
    "cycler": Pair("Cycler", "충방전기"),
    "interlock": Pair("Interlock (PLC)", "인터록 (PLC)"),
    "battery_monitor": Pair("Battery monitor", "배터리 모니터"),
    "temperature_scanner": Pair("Temperature scanner", "온도 스캐너"),
    "impedance_meter": Pair("Impedance meter", "임피던스 측정기"),
    "spectrum_meter": Pair("Impedance spectrum meter", "임피던스 스펙트럼 측정기"),
    "insulation_tester": Pair("Insulation tester", "절연 시험기"),
    "voltmeter": Pair("Voltmeter", "전압계"),
    "chamber": Pair("Chamber", "챔버"),
    "chiller": Pair("Chiller", "칠러"),
    "code_reader": Pair("Code reader", "코드 리더"),
}
ACTIONS = {
    "start": Pair("start", "시작"),
    "hold": Pair("hold", "보류"),
    "unhold": Pair("resume", "재개"),
    "suspend": Pair("suspend", "일시 정지"),
    "unsuspend": Pair("resume", "재개"),
    "complete": Pair("complete", "완료"),
    "stop": Pair("stop", "정지"),
    "abort": Pair("abort", "중단"),
    "clear": Pair("clear", "해제"),
    "result": Pair("result", "결과 확정"),
}
# the order in which people ask for them; the journal keeps keys sorted
ORDER = (
    "stateOfHealth", "remainingCapacity", "remainingCapacityC3", "capacityFade", "stateOfCertifiedEnergy",
    "remainingEnergy", "internalResistanceIncrease", "internalResistance80", "internalResistance50",
    "internalResistance20", "cellResistanceRatio", "cellSpread", "weakestCell", "insulationResistance",
)  # fmt: skip
_DETAILS = {
    "soc_percent": Pair("at {} % SOC", "SOC {} %"),
    "at_s": Pair("{} s into the pulse", "펄스 {}초 시점"),
    "current_a": Pair("{} A", "{} A"),
    "cell": Pair("cell {}", "{}번 셀"),
    "voltage_v": Pair("{} V", "{} V"),
    "rated_ah": Pair("of {} Ah rated", "정격 {} Ah 기준"),
    "rated_wh": Pair("of {} Wh rated", "정격 {} Wh 기준"),
    "factor": Pair("factor {}", "환산 계수 {}"),
    "resolution_mohm": Pair("resolution {} mΩ", "분해능 {} mΩ"),
    "new_mohm": Pair("when new {} mΩ", "신품 {} mΩ"),
    "readings": Pair("mean of {} readings", "{}회 평균"),
    "rest_s": Pair("after {} s of rest", "{}초 휴지 후"),
    "kohm": Pair("lowest {} kΩ", "최저 {} kΩ"),
    "end": Pair("ended by {}", "종료: {}"),
    "lowest_cell": Pair("lowest cell {}", "최저 {}번 셀"),
    "highest_cell": Pair("highest cell {}", "최고 {}번 셀"),
    "margin_mv": Pair("{} mV below the next", "다음 셀보다 {} mV 낮음"),
    "cause": Pair("because of {}", "원인: {}"),
    "imbalance_ah": Pair("imbalance {} Ah", "불균형 {} Ah"),
    "capacity_ah": Pair("capacity {} Ah", "용량 {} Ah"),
    "resistance_ah": Pair("resistance {} Ah", "저항 {} Ah"),
    "rounds": Pair("{} rounds", "{}회"),
    "spread_ah": Pair("{} Ah apart", "차이 {} Ah"),
    "settled": Pair("settled: {}", "수렴: {}"),
    "limit_a": Pair("up to {} A", "최대 {} A"),
    "limited_by": Pair("limited by {}", "제한: {}"),
    "hours": Pair("in {} h", "{} h 동안"),
    "lost_mv": Pair("lost {} mV", "{} mV 감소"),
    "median_cell_lost_mv": Pair("the median cell {} mV", "중앙값 셀 {} mV"),
    "slope_v": Pair("at {} V per full charge", "완전 충전당 {} V"),
    "residual_percent": Pair("residual {} %", "잔차 {} %"),
    "residual_mv": Pair("residual {} mV", "잔차 {} mV"),
    "alpha": Pair("CPE exponent {}", "CPE 지수 {}"),
    "new_cell": Pair("against {}", "기준 {}"),
    "height_ah_per_v": Pair("height {} Ah/V", "높이 {} Ah/V"),
    "mean_a": Pair("at {} A", "{} A"),
    "family": Pair("model {}", "모델 {}"),
    "mean_cell_percent": Pair("mean cell {} %", "평균 셀 {} %"),
    "source": Pair("source: {}", "출처: {}"),
    "why": Pair("{}", "{}"),
    "missing": Pair("not measured: {}", "측정 불가: {}"),
}
# details that are words of our own
_VALUES = {
    "imbalance": Pair("imbalance", "불균형"),
    "capacity": Pair("less capacity", "용량 부족"),
    "resistance": Pair("more resistance", "저항 과다"),
    "none": Pair("nothing that sets it apart", "두드러진 원인 없음"),
    "cell voltage": Pair("the cell voltage", "셀 전압"),
    "rated current": Pair("the rated current", "정격 전류"),
    "yes": Pair("yes", "예"),
    "no": Pair("no", "아니오"),
    "too few": Pair("too few discharges", "방전 횟수 부족"),
}
_KOREAN = "_ko"  # the key of a text's Korean, after its own
# why steps end, by `sequences.runs`, `inquiries`, `leaf` and `nodes`; conditions read the same in both languages
_ENDS = (
    (r"duration", "시간 경과"),
    (r"duration, clipped (.+) times", r"시간 경과, 전압 제한 \1회"),
    (r"readings taken", "측정 완료"),
    (r"cell voltage (.+)", r"셀 전압 \1"),
    (r"soc (.+%)", r"SOC \1"),
    (r"maximum time of (.+)", r"최대 시간 \1"),
    (r"pulse (\d+) by cell voltage (.+)", r"펄스 \1: 셀 전압 \2"),
    (r"codes agree", "코드 일치"),
    (r"no code from label and BMS", "라벨과 BMS에서 코드를 읽지 못함"),
    (r"no code from label", "라벨에서 코드를 읽지 못함"),
    (r"no code from BMS", "BMS에서 코드를 읽지 못함"),
    (r"the label says (.+), the run was started for (.+)", r"라벨의 코드 \1, 시작할 때의 코드 \2"),
    (r"the BMS says (.+), the run was started for (.+)", r"BMS의 코드 \1, 시작할 때의 코드 \2"),
    (r"settled", "안정됨"),
    (r"soaked", "온도 안정화 완료"),
    (r"spectrum taken", "스펙트럼 측정 완료"),
    (r"tested", "시험 완료"),
    (r"confirmed", "확인됨"),
    (r"refused", "거부됨"),
    (r"answered (.+)", r"답: \1"),
    (r"all good", "모두 양호"),
    (r"bad: (.+)", r"불량: \1"),
    (r"measured", "평가 완료"),
    (r"not measured: (.+)", r"측정되지 않음: \1"),
    (r"grade none, not certain", "등급 없음, 불확실"),
    (r"grade (.+), certain", r"등급 \1, 확실"),
    (r"grade (.+), not certain", r"등급 \1, 불확실"),
    (r"computed", "계산 완료"),
    (r"(\w+) is unknown", r"\1 값을 알 수 없음"),
    (r"(.+): unknown: (.+)", r"\1: 알 수 없음: \2"),
    (r"(.+): not so: (.+)", r"\1: 조건 불충족: \2"),
    (r"set|told", "완료"),
    (r"(.+) after (\d+) rounds", r"\2회 후에도 \1"),
    (r"(\d+) capacities do not agree within (.+) of the rated capacity",
     r"용량 \1회가 정격 용량의 \2 이내로 일치하지 않음"),
    (r"more than (\d+) steps", r"스텝이 \1개를 넘음"),
    (r"stopped: branch (.+) ended", r"중지: 분기 \1 종료"),
)  # fmt: skip
# why runs end before their recipes do, and alarms, by `controller.safety`, `station`, `engine`, `recovery` and `line`
_OUTCOMES = (
    (r"(\w+): (.+) is above (.+)", r"\1: \2, 상한 \3 초과"),
    (r"(\w+): (.+) is below (.+)", r"\1: \2, 하한 \3 미만"),
    (r"the interlock chain opened: (.+)", r"인터록 체인이 열림: \1"),
    (r"a contactor opened that should be closed", "닫혀 있어야 할 컨택터가 열림"),
    (r"the BMS reports (.+)", r"BMS 고장 보고: \1"),
    (r"the cycler reports (.+)", r"충방전기 경보: \1"),
    (r"the PLC heartbeat stands still for (.+)", r"PLC 하트비트가 \1 동안 멈춤"),
    (r"no good value of (.+) for (.+)", r"\1 의 정상 값이 \2 동안 없음"),
    (r"the cycler's output went off while it should drive", "구동 중 충방전기 출력이 꺼짐"),
    (r"the daemon ended while the run was active", "실행 중 데몬이 종료됨"),
    (r"(\w+) took over (.+)", r"\1 상태가 \2 를 넘김"),
    (r"(.+) is not confirmed: (.+)", r"\1 확인되지 않음: \2"),
    (r"the output is (on|off) and (.+) flow without a run", r"실행 없이 \2 가 흐름 (출력 \1)"),
    (
        r"the daemon died in run (\S+) in (.+); resume .+, or abort",
        r"실행 \1 의 \2 중에 데몬이 종료됨. 재개(resume) 또는 중단(abort)하십시오",
    ),
)
# how a unit of the wire is written for people, and the factor that goes with it
_UNITS = {
    "mohm": ("mΩ", 1.0), "ohm": ("kΩ", 1e-3), "ohm/V": ("Ω/V", 1.0), "degC": ("°C", 1.0), "K/s": ("K/min", 60.0),
    "s": ("h", 1 / 3600), "1": ("", 1.0),
}  # fmt: skip
# decimals beyond which a value of this unit is noise
_DECIMALS = {"%": 1, "degC": 1, "mV": 1, "Ah": 2, "kWh": 2, "ohm/V": 0, "1": 0}


def in_order(names: Iterable[str]) -> list[str]:
    """Measurements as people ask for them; those the order does not know last, by name."""
    return sorted(names, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))


def term(words: Mapping[str, Pair], key: str) -> Pair:
    """The key's words; a key nobody has words for yet stands for itself."""
    return words.get(key, Pair(key, key))


def unit_sign(unit: str) -> str:
    return _UNITS.get(unit, (unit, 1.0))[0]


def number(value: float | None, unit: str = "", edges: tuple[float, ...] = ()) -> str:
    """Sensible digits, four significant ones where the unit says nothing; more if rounding would reach an edge."""
    if value is None:
        return "—"
    if not math.isfinite(value):
        return str(value)
    magnitude = math.floor(math.log10(abs(value))) if value else 0
    decimals = _DECIMALS.get(unit, min(6, max(0, 3 - magnitude)))
    while decimals < 6 and any(value != edge and round(value, decimals) == round(edge, decimals) for edge in edges):
        decimals += 1  # 49.98 % must not read as 50.0 % beside a limit of 50 %
    return f"{value:.{decimals}f}".replace("-", "−")


def uncertainty(value: float | None) -> str:
    """A standard uncertainty with two significant digits; empty where there is none."""
    return "" if value is None or not math.isfinite(value) else f"± {float(f'{value:.1e}'):.6g}"


def plain(value: float) -> str:
    """Four significant digits, never as a power of ten within what batteries have."""
    text = f"{value:.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.4g}"
    return text.replace("-", "−")


def quantity(value: float | None, unit: str) -> str:
    """A setting with its unit, in the size people use."""
    if value is None:
        return "—"
    sign, factor = _UNITS.get(unit, (unit, 1.0))
    return f"{plain(value * factor)} {sign}".strip()


def end_reason(reason: str) -> Pair:
    """Why a step ended; conditions read the same in both languages."""
    shown = reason.replace("<=", "≤").replace(">=", "≥")
    if shown.startswith("cut short: "):
        cuts = [end_reason(cut).ko for cut in shown.removeprefix("cut short: ").split(", ")]
        return Pair(shown, f"조기 종료: {', '.join(cuts)}")
    return Pair(shown, _korean(shown, _ENDS) or shown)


def outcome_reason(reason: str) -> Pair:
    """Why a run ended before its recipe did; what an instrument says stays as it is."""
    if korean := _korean(reason, _OUTCOMES):
        signal, colon, rest = korean.partition(": ")
        return Pair(reason, f"{term(SAFETY, signal).ko}{colon}{rest}" if signal in SAFETY else korean)
    step, colon, why = reason.partition(": ")
    if not colon:
        return end_reason(reason)
    ended = end_reason(why)
    return Pair(f"{step}: {ended.en}", f"{step}: {ended.ko}")


def _korean(text: str, words: Iterable[tuple[str, str]]) -> str:
    for pattern, korean in words:
        if match := re.fullmatch(pattern, text):
            return match.expand(korean)
    return ""


def details(detail: Mapping[str, Any]) -> Pair:
    """A measurement's circumstances in one line."""
    pairs = []
    known = [*_DETAILS]
    for key, value in sorted(detail.items(), key=lambda item: known.index(item[0]) if item[0] in known else len(known)):
        if key.endswith(_KOREAN):
            continue
        if isinstance(value, int | float):
            shown = Pair(*[f"{value:.3f}" if key == "voltage_v" else plain(value)] * 2)
        elif key + _KOREAN in detail:
            shown = Pair(str(value), str(detail[key + _KOREAN]))
        else:
            shown = _VALUES.get(str(value)) or end_reason(str(value))
        form = _DETAILS.get(key, Pair(f"{key} {{}}", f"{key} {{}}"))
        pairs.append(Pair(form.en.format(shown.en), form.ko.format(shown.ko)))
    return Pair(", ".join(pair.en for pair in pairs), ", ".join(pair.ko for pair in pairs))


def limit_words(limits: Mapping[str, Any], unit: str) -> tuple[str, Pair | None]:
    """Limits as a formula, and from where on a value is marginal."""
    low, high, band = limits.get("min"), limits.get("max"), limits.get("marginal") or 0.0
    sign = unit_sign(unit)
    bounds = [f"{relation} {limit:.6g}" for relation, limit in (("≥", low), ("≤", high)) if limit is not None]
    text = f"{' , '.join(bounds)} {sign}".strip()
    if not band:
        return text, None
    en = [f"{word} {edge:.6g}" for word, edge in _marginal_edges(low, high, band)]
    ko = [
        f"{edge:.6g} {sign} {'미만' if word == 'below' else '초과'}" for word, edge in _marginal_edges(low, high, band)
    ]
    return text, Pair(f"marginal {' or '.join(en)} {sign}".strip(), f"경계: {', '.join(ko)}")


def _marginal_edges(low: float | None, high: float | None, band: float) -> list[tuple[str, float]]:
    edges = [] if low is None else [("below", low + band)]
    return edges if high is None else [*edges, ("above", high - band)]


def moment(text: str) -> str:
    """An RFC 3339 time in UTC, to the second; anything else as it is."""
    try:
        return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    except ValueError:
        return text


def lasting(seconds: float | None) -> str:
    """A duration as h:mm:ss; tenths where it is shorter than a minute."""
    if seconds is None:
        return "—"
    if 0 <= seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(abs(seconds))
    return f"{'−' if seconds < 0 else ''}{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def with_titles(text: str, titles: Mapping[str, str]) -> str:
    """A grade reason with the measurements' titles in place of their names."""
    for sign, shown in (("<=", "≤"), (">=", "≥"), ("ohm/V", "Ω/V")):
        text = text.replace(sign, shown)
    return re.sub(r"[A-Za-z]\w*", lambda match: titles.get(match[0], match[0]), text)
