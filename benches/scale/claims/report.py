"""Claims as text."""

from dataclasses import dataclass

from harness.report import grid


@dataclass(frozen=True)
class Verdict:
    """One figure against its bound."""

    what: str
    measured: str
    bound: str
    kept: bool

    def line(self) -> str:
        return f"{'KEPT  ' if self.kept else 'MISSED'}  {self.what}: {self.measured}, at most {self.bound}"


@dataclass(frozen=True)
class Claim:
    title: str
    rows: list[list[str]]
    """The first row holds the headings."""
    verdicts: list[Verdict]

    @property
    def kept(self) -> bool:
        return all(verdict.kept for verdict in self.verdicts)

    def text(self) -> str:
        return "\n".join(["", f"== {self.title} ==", "", *grid(self.rows), "", *(verdict.line() for verdict in self.verdicts)])
