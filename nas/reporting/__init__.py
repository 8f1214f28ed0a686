"""The report of a campaign: tables, charts, and one page that works offline."""

from nas.reporting.page import write_report

__all__ = ["write_report"]
