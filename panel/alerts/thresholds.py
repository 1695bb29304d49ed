"""From when on a problem is an alert: shown and set on the page and in the shell."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from panel.errors import BadInput
from panel.models import AlertChannels

LIMITS = {
    "failing_minutes": (5, 1440), "unverified_days": (1, 90), "disk_percent": (1, 50),
    "waiting_minutes": (5, 10080),
}  # fmt: skip


@dataclass(frozen=True)
class Thresholds:
    """When a mailbox fails or mail waits too long, the key is too long without a backup, a disk too full."""

    failing_minutes: int = 60
    unverified_days: int = 7
    disk_percent: int = 5
    waiting_minutes: int = 60

    @property
    def failing_seconds(self) -> int:
        return self.failing_minutes * 60

    @property
    def unverified_seconds(self) -> int:
        return self.unverified_days * 24 * 3600

    def check(self) -> None:
        """Raise BadInput, with the field, for a number that is out of its range."""
        for name, value in asdict(self).items():
            least, most = LIMITS[name]
            if not least <= value <= most:
                raise BadInput(f"Enter a number from {least} to {most:,}.", field=name)


USUAL = Thresholds()


def of(row: AlertChannels | None) -> Thresholds:
    """Those of the row. Where SQL put a number that is out of range, the usual one counts."""
    usual, stored = asdict(USUAL), {}
    for name, (least, most) in LIMITS.items():
        value = getattr(row, name) if row is not None else None
        stored[name] = value if isinstance(value, int) and least <= value <= most else usual[name]
    return Thresholds(**stored)
