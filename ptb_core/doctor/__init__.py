"""What this machine can and cannot run, and what to do about it.

Each module looks at one thing and returns findings. Looking and judging are apart where the facts
differ between machines: ``look_at_...`` reads them, ``..._findings`` is pure.
"""

from ptb_core.doctor.examine import examine
from ptb_core.doctor.findings import Finding, Report, Section

__all__ = ["Finding", "Report", "Section", "examine"]
