"""The report of a run: one self-contained page, in English and Korean."""

from controller.report.page import write_report

__all__ = ["write_report"]
