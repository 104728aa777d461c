"""What instruments say and what is wrong with them, in Korean, for the refusals that people read."""

from __future__ import annotations

from collections.abc import Iterable

from drivers import InstrumentError
from drivers import errors as drivers_errors

# by the codes of `drivers.errors`; another package's driver may have one of its own
FAULTS = {
    drivers_errors.REFUSED: "연결이 거부됨",
    drivers_errors.TIMEOUT: "응답 시간 초과",
    drivers_errors.CLOSED: "연결이 끊김",
    drivers_errors.PORT: "직렬 포트가 없거나 사용 중",
    drivers_errors.ADDRESS: "주소 오류",
    drivers_errors.DESCRIPTORS: "열린 파일이 너무 많음",
    drivers_errors.IdentityError.code: "다른 계측기가 응답함",
    drivers_errors.AnswerError.code: "해석할 수 없는 응답",
    drivers_errors.SettingError.code: "설정값이 다르게 읽힘",
    drivers_errors.DeviceError.code: "계측기가 오류를 보고함",
    drivers_errors.ConfigError.code: "라인 파일의 드라이버 설정 오류",
    InstrumentError.code: "계측기 오류",
}
# as `drivers.plc_interlock` and `drivers.bms_gateway` name them
SAID = {
    "E-stop": "비상정지",
    "door": "도어",
    "host heartbeat lost": "제어기 하트비트 끊김",
    "gas or smoke": "가스 또는 연기",
    "clamp": "클램프",
    "cell overvoltage": "셀 과전압",
    "cell undervoltage": "셀 저전압",
    "overtemperature": "과열",
    "undertemperature": "저온",
    "overcurrent": "과전류",
    "insulation": "절연 불량",
    "CAN timeout": "CAN 통신 시간 초과",
    "contactor welded": "컨택터 융착",
    "sensor broken": "센서 고장",
    "internal error": "내부 오류",
}


def fault_ko(fault: InstrumentError) -> str:
    """What kind of fault it is, in Korean, and what was said of it as it is."""
    kind = FAULTS.get(fault.code, FAULTS[InstrumentError.code])
    return f"{fault.instrument or '-'}: {kind} ({fault.args[0]})"


def said_ko(names: Iterable[str]) -> str:
    """Names of causes and faults; one that nobody translated stands for itself."""
    return ", ".join(SAID.get(name, name) for name in names)
