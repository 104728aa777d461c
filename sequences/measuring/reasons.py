"""Why something could not be measured, in Korean too: what the analysis and the fast estimate say in English."""

from __future__ import annotations

import re

from sequences.text import Text

_KOREAN = (
    # sequences.analysis
    (r"there are no samples between the two ends", "두 끝 사이에 샘플이 없음"),
    (r"no current flowed", "전류가 흐르지 않음"),
    (r"there is no full discharge", "완전 방전이 없음"),
    (r"an efficiency needs a charge and the discharge after it", "효율에는 충전과 그 뒤의 방전이 필요함"),
    (r"a cell's voltage is not good", "정상이 아닌 셀 전압이 있음"),
    (r"the current did not change", "전류가 변하지 않음"),
    (r"fewer than three cells have good voltages", "전압이 정상인 셀이 3개보다 적음"),
    (r"the cells' voltages have too little in common", "셀 전압의 공통 구간이 너무 적음"),
    (r"there are no cell voltages", "셀 전압이 없음"),
    (r"nothing was discharged", "방전이 없음"),
    (r"the discharge has no usual current", "방전 전류가 일정하지 않음"),
    (r"too few samples at an end of the discharge", "방전 끝부분의 샘플이 너무 적음"),
    (r"the discharge has too few samples", "방전의 샘플이 너무 적음"),
    (r"the half-cell curves of (.+) leave (.+) mV rms: another chemistry\?",
     r"\1 반쪽 전지 곡선의 잔차가 \2 mV rms 임: 다른 화학계일 수 있음"),
    (r"the half-cell curves of (.+) fit only at the edge of their range", r"\1 반쪽 전지 곡선이 범위 끝에서만 맞음"),
    (r"the voltage did not change", "전압이 변하지 않음"),
    (r"(.+) samples over (.+) mV are too coarse", r"\2 mV 에 샘플 \1개로는 너무 거침"),
    (r"too few samples for a differential voltage", "dV/dQ 를 구하기에 샘플이 너무 적음"),
    (r"divided by something that is not above zero", "0 이하의 값으로 나눔"),
    (r"the impedance meter gave no good reading", "임피던스 측정기의 정상 값이 없음"),
    (r"(.+) points of a spectrum are not enough, (.+) are", r"스펙트럼 점이 \1개로, \2개 이상이어야 함"),
    (r"R0 \+ Rct \|\| CPE \+ Warburg leaves (.+) % rms", r"R0 + Rct || CPE + Warburg 의 잔차가 \1 % rms 임"),
    (r"voltages and the known resistance must be above zero", "전압과 기지 저항은 0보다 커야 함"),
    (r"the two voltages to the chassis are more than the voltage between the poles",
     "두 극과 섀시 사이 전압의 합이 극간 전압보다 큼"),
    (r"the known resistance did not lower the voltage it lies beside", "기지 저항을 넣어도 전압이 낮아지지 않음"),
    (r"the working voltage must be above zero", "사용 전압은 0보다 커야 함"),
    (r"the rated energy must be above zero", "정격 에너지는 0보다 커야 함"),
    (r"no metal table for (.+); there is one for (.+)", r"\1 의 금속 표가 없음; 있는 것: \2"),
    (r"a rest of (.+) samples is too short", r"샘플 \1개의 휴지는 너무 짧음"),
    (r"rested for (.+) s only, (.+) s are asked for", r"휴지가 \1 s 로, \2 s 이상이어야 함"),
    (r"the current was not steady", "전류가 일정하지 않음"),
    (r"(.+) mV is less than (.+) steps of (.+) mV", r"\1 mV 는 분해능 \3 mV 의 \2배보다 작음"),
    (r"the current flowed for (.+) s only", r"전류가 \1 s 동안만 흐름"),
    (r"there is no sample within (.+) % of (.+) s", r"\2 s 의 \1 % 이내에 샘플이 없음"),
    (r"there is no sample near (.+) s", r"\1 s 부근에 샘플이 없음"),
    (r"(.+) days between two voltages, (.+) are asked for", r"두 전압 사이가 \1일로, \2일 이상이어야 함"),
    (r"the open-circuit voltage does not tell the state of charge here",
     "이 구간에서는 개방 전압으로 충전 상태를 알 수 없음"),
    (r"(.+) days of storage, (.+) are asked for", r"보관 기간이 \1일로, \2일 이상이어야 함"),
    # sequences.fast_soh
    (r"no fast SOH model for (.+) cells", r"\1 셀의 간이 SOH 모델이 없음"),
    (r"not measured: (.+)", r"측정되지 않음: \1"),
    (r"(.+), the model needs (.+) to (.+)", r"\1, 모델 조건은 \2 ~ \3"),
    (r"the voltage did not rise in the charge pulse", "충전 펄스에서 전압이 오르지 않음"),
    (r"the voltage did not fall in the discharge pulse", "방전 펄스에서 전압이 내리지 않음"),
    (r"open-circuit voltage (.+) V per cell, trained on (.+) to (.+) V", r"개방 전압 셀당 \1 V, 학습 범위 \2 ~ \3 V"),
    (r"distance (.+) from the trained cells, limit (.+); farthest off: (.+), usual at this voltage (.+)",
     r"학습한 셀과의 거리 \1, 한계 \2; 가장 벗어난 값: \3, 이 전압에서 보통 \4"),
    (r"estimate outside the trained SOH of (.+) to (.+)", r"추정값이 학습한 SOH 범위 \1 ~ \2 밖임"),
)  # fmt: skip
_PATTERNS = tuple((re.compile(pattern, re.DOTALL), korean) for pattern, korean in _KOREAN)


def in_words(en: str) -> Text:
    """A reason, or several with semicolons between, in both languages; what nobody translated stays English."""
    parts = [_korean(part) for part in en.split("; ")]
    return Text(en=en, ko="; ".join(parts) if all(parts) else _korean(en) or en)


def _korean(en: str) -> str:
    for pattern, korean in _PATTERNS:
        if match := pattern.fullmatch(en):
            return match.expand(korean)
    return ""
