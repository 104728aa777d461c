"""What `evaline analyse` says, in English and Korean: headings, and a sentence for every defect and what was done."""

from __future__ import annotations

import re

from controller.report.words import Pair
from sequences.analysis import Defect
from sequences.measuring.reasons import in_words

DEFECTS = {
    "E-DATA-EMPTY": Pair("there are no data", "데이터가 없음"),
    "E-DATA-SIZE": Pair(
        "{values} bytes or values are more than the {most} that can be held; cut the file",
        "{values}은(는) 처리 한도 {most}을(를) 넘음; 파일을 나누십시오",
    ),
    "E-DATA-FORMAT": Pair("cannot be read: {said}", "읽을 수 없음: {said}"),
    "E-DATA-HEADER": Pair(
        "the header is missing; name the {columns} columns by position, like --map 'time=#1 in s'",
        "머리글 행이 없음; 열 {columns}개를 위치로 지정하십시오: --map 'time=#1 in s'",
    ),
    "E-DATA-COLUMNS": Pair(
        "no column for {missing}; name it, like --map 'voltage=U in V'; the file has {seen}",
        "{missing} 열이 없음; --map 'voltage=U in V' 처럼 지정하십시오; 파일의 열: {seen}",
    ),
    "E-DATA-CELLS": Pair(
        "column {column!r} names {count} batteries ({values}); give one file each",
        "열 {column!r}에 배터리 {count}개({values})가 있음; 배터리별로 파일을 나누십시오",
    ),
    "E-DATA-TIME": Pair(
        "the time falls in {rows} of {of} rows: another clock, or a step's own time; map the test time",
        "{of}행 중 {rows}행에서 시간이 되돌아감: 다른 시계이거나 단계 시간임; 시험 시간 열을 지정하십시오",
    ),
    "E-DATA-ROWS": Pair("only {left} of {of} rows can be used", "{of}행 중 {left}행만 사용할 수 있음"),
    "E-DATA-SIGN": Pair(
        "the sign of the current looks inverted: {against_percent:.0f} % of the charge moves against the voltage; "
        "turn it with --map 'current=-COLUMN in A'",
        "전류 부호가 반대로 보임: 전하의 {against_percent:.0f} %가 전압과 반대로 움직임; "
        "--map 'current=-COLUMN in A' 로 뒤집으십시오",
    ),
    "W-DATA-HEADER": Pair("there is no header; columns read by position", "머리글 행이 없음; 열을 위치로 읽음"),
    "W-DATA-PREAMBLE": Pair("lines before the header; passed over", "머리글 앞의 행; 건너뜀"),
    "W-DATA-ENCODING": Pair("not UTF-8; read as {read_as}", "UTF-8이 아님; {read_as}(으)로 읽음"),
    "W-DATA-DECIMAL-COMMA": Pair("decimal commas; read as points", "소수점이 쉼표임; 점으로 읽음"),
    "W-DATA-COLUMN": Pair("unknown columns, not used: {names}", "알 수 없는 열, 사용 안 함: {names}"),
    "W-DATA-COLUMN-TWICE": Pair(
        "columns with one name; the first was read: {names}", "이름이 같은 열; 첫째를 읽음: {names}"
    ),
    "W-DATA-ROW": Pair("rows without {expected} fields; left out", "필드가 {expected}개가 아닌 행; 제외함"),
    "W-DATA-HEADER-REPEATED": Pair("the header again inside the data; left out", "데이터 중간의 머리글 반복; 제외함"),
    "W-DATA-CELL": Pair("rows with text where a number belongs; left out", "숫자 자리에 문자가 있는 행; 제외함"),
    "W-DATA-MISSING": Pair("rows without time, voltage or current; left out", "시간, 전압 또는 전류가 없는 행; 제외함"),
    "W-DATA-RANGE": Pair("rows beyond what any tester reads; left out", "시험기 범위를 벗어난 행; 제외함"),
    "W-DATA-TIME-BACK": Pair(
        "rows that step back in time, by {most_s:.3g} s at most; left out",
        "시간이 되돌아간 행, 최대 {most_s:.3g} s; 제외함",
    ),
    "W-DATA-TIME-EQUAL": Pair(
        "rows with the time of the one before; kept, they add nothing to an integral",
        "앞 행과 시간이 같은 행; 유지함, 적분에는 영향 없음",
    ),
    "W-DATA-GAP": Pair(
        "gaps under current, {longest_s:.0f} s at most; {bridged_ah:.4g} Ah bridged in a straight line and counted as "
        "uncertainty",
        "전류가 흐르는 동안의 공백, 최대 {longest_s:.0f} s; {bridged_ah:.4g} Ah를 직선으로 잇고 불확도에 반영함",
    ),
    "W-DATA-COUNTER": Pair(
        "the tester's {counter} says {counted:.5g}, the integral {integral:.5g}, {apart_percent:.2g} % apart; the "
        "integral is used",
        "시험기 {counter} 값 {counted:.5g}, 적분값 {integral:.5g}, 차이 {apart_percent:.2g} %; 적분값을 사용함",
    ),
    "W-DATA-COUNTER-RESET": Pair(
        "the tester's {counter} began anew; added up for the comparison only",
        "시험기 {counter} 값이 초기화됨; 비교할 때만 이어 더함",
    ),
    "W-DATA-RESOLUTION": Pair(
        "voltage steps of {step_mv:.3g} mV, {per_cell_mv:.3g} mV a cell: peaks and resistances are as coarse",
        "전압 분해능 {step_mv:.3g} mV, 셀당 {per_cell_mv:.3g} mV: 피크와 저항도 그만큼 거침",
    ),
    "W-DATA-REST-NOISE": Pair(
        "current at rest, {mean_a:.2g} A on average, {deviation_a:.2g} A of scatter; below {threshold_a:.2g} A counts "
        "as rest",
        "휴지 중 전류, 평균 {mean_a:.2g} A, 산포 {deviation_a:.2g} A; {threshold_a:.2g} A 미만은 휴지로 봄",
    ),
    "W-DATA-LATE-CURRENT": Pair(
        "rests whose last sample has the voltage of the next current; the sample before it is taken",
        "마지막 샘플의 전압이 다음 전류의 것인 휴지; 그 앞 샘플을 사용함",
    ),
}


SETTLED = {
    "yes": Pair("mean of {discharges} that agree", "일치하는 {discharges}회의 평균"),
    "no": Pair(
        "not settled: the newest {discharges} lie {apart_percent_of_rated:.1f} % of the rated capacity apart",
        "수렴하지 않음: 최근 {discharges}회의 차이가 정격 용량의 {apart_percent_of_rated:.1f} %",
    ),
    "too few": Pair("{discharges} of {needed} discharges", "방전 {discharges}/{needed}회"),
}


def sentence(defect: Defect, lang: str) -> str:
    """A defect in words."""
    return str(getattr(DEFECTS[defect.code], lang)).format(count=defect.count, **defect.figures)


WORDS = {
    "en": {
        "samples": "samples", "of_rows": "of {rows} rows", "read_as": "read as", "defects": "defects", "none": "none",
        "withheld": "results are withheld: the data are too defective",
        "code": "code", "times": "times", "line": "from line", "what": "what, and what was done",
        "segment": "segment", "lines": "lines", "duration": "duration", "current": "current A", "ended": "ended at V",
        "charge": "charge", "discharge": "discharge", "rest": "rest", "more": "... and {count} more",
        "sweep": "charge and discharge", "ah": "Ah", "wh": "Wh", "rate": "rate", "full": "full",
        "from_to": "V from ... to", "yes": "yes",
        "no": "no", "result": "result", "value": "value", "uncertainty": "u (k=1)", "unit": "unit",
        "note": "note", "dcir": "DC resistance in mohm by the time after the current began", "soc": "SOC %",
        "first": "first sample", "rested": "rest s", "relaxation": "rests", "voltage": "V", "drift": "drift mV/h",
        "tends": "tends to V", "spread": "spread mV", "ica": "peaks of dQ/dV", "dva": "peaks of dV/dQ", "peak": "peak",
        "height": "height", "cells": "cells", "cell": "cell", "limits_discharge": "ends the discharge",
        "limits_charge": "ends the charge", "cause": "because of", "imbalance": "imbalance", "capacity": "capacity",
        "resistance": "resistance", "metals": "metals, kg of the rated energy", "source": "source",
        "missing": "not measured", "weakest": "weakest cell: {ratio:.1f} ± {u:.1f} % of the median cell's capacity",
        "highest": "highest resistance", "self_discharge": "self-discharge",
    },
    "ko": {
        "samples": "샘플", "of_rows": "/ {rows}행", "read_as": "읽은 열", "defects": "결함", "none": "없음",
        "withheld": "데이터 결함이 커서 결과를 내지 않음",
        "code": "코드", "times": "횟수", "line": "시작 행", "what": "내용과 처리",
        "segment": "구간", "lines": "행", "duration": "시간", "current": "전류 A", "ended": "종료 V",
        "charge": "충전", "discharge": "방전", "rest": "휴지", "more": "... 그 밖에 {count}개",
        "sweep": "충전과 방전", "ah": "Ah", "wh": "Wh", "rate": "C-rate", "full": "완전",
        "from_to": "시작 V ... 종료 V",
        "yes": "예", "no": "아니오", "result": "결과", "value": "값", "uncertainty": "u (k=1)", "unit": "단위",
        "note": "비고", "dcir": "전류 시작 후 시간별 직류저항 (mohm)", "soc": "SOC %",
        "first": "첫 샘플", "rested": "휴지 s", "relaxation": "휴지", "voltage": "V", "drift": "변화 mV/h",
        "tends": "수렴 V", "spread": "편차 mV", "ica": "dQ/dV 피크", "dva": "dV/dQ 피크", "peak": "피크",
        "height": "높이", "cells": "셀", "cell": "셀", "limits_discharge": "방전을 끝내는 셀",
        "limits_charge": "충전을 끝내는 셀", "cause": "원인", "imbalance": "불균형", "capacity": "용량",
        "resistance": "저항", "metals": "금속 (정격 에너지 기준, kg)", "source": "출처",
        "missing": "측정하지 못함", "weakest": "최약 셀: 중앙값 셀 용량의 {ratio:.1f} ± {u:.1f} %",
        "highest": "최대 저항", "self_discharge": "자가방전",
    },
}  # fmt: skip

RESULTS = {
    "remainingCapacity": Pair("remaining capacity", "잔존 용량"),
    "remainingEnergy": Pair("remaining energy", "잔존 에너지"),
    "stateOfHealth": Pair("state of health", "용량 기준 건전성 (SOH)"),
    "capacityFade": Pair("capacity fade", "용량 감소율"),
    "stateOfCertifiedEnergy": Pair("state of certified energy", "인증 에너지 상태 (SOCE)"),
    "coulombicEfficiency": Pair("coulombic efficiency", "쿨롱 효율"),
    "energyEfficiency": Pair("energy efficiency", "에너지 효율"),
    "internalResistance": Pair("DC resistance", "직류저항"),
    "relaxation": Pair("relaxation", "휴지 전압"),
    "LLI": Pair("loss of lithium inventory", "리튬 손실 (LLI)"),
    "LAM_PE": Pair("loss of positive material", "양극 활물질 손실 (LAM_PE)"),
    "LAM_NE": Pair("loss of negative material", "음극 활물질 손실 (LAM_NE)"),
    "temperatureMax": Pair("highest temperature", "최고 온도"),
    "degradation": Pair("degradation modes", "열화 모드"),
    "cells": Pair("comparison of cells", "셀 비교"),
    "metals": Pair("metals", "금속"),
}

# why a whole evaluation withholds something; single measurements' reasons are in `sequences.measuring.reasons`
WITHHELD = (
    (r"no discharge was seen to run from the upper to the lower voltage limit; .+",
     "상한 전압에서 하한 전압까지의 방전이 없음; 그 앞의 충전이 데이터에 있거나 전압 한계를 지정해야 함"),
    (r"no full charge stands before a full discharge", "완전 방전 앞에 완전 충전이 없음"),
    (r"only the first (\d+) of (\d+) are evaluated", r"\2개 중 처음 \1개만 평가함"),
    (r"only the first (\d+) rests are evaluated", r"휴지는 처음 \1개만 평가함"),
    (r"no current began after a rest", "휴지 뒤에 시작된 전류가 없음"),
    (r"comparing cells needs a full discharge and a current that began after a rest",
     "셀 비교에는 완전 방전과 휴지 뒤에 시작된 전류가 필요함"),
    (r"no uninterrupted full discharge was as slow as C/10", "C/10 이하로 끊김 없이 이어진 완전 방전이 없음"),
    (r"needs the rated capacity and the chemistry; half-cell curves: (.+)",
     r"정격 용량과 화학계가 필요함; 반쪽 전지 곡선: \1"),
)  # fmt: skip
METALS_KO = {"graphite": "흑연"}


def why(reason: str, lang: str) -> str:
    """A reason of the analysis in the reader's language; what nobody translated stays English."""
    if lang != "ko":
        return reason
    for pattern, korean in WITHHELD:
        if match := re.fullmatch(pattern, reason):
            return match.expand(korean)
    return in_words(reason).ko
