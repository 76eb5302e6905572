"""The audit log: what was done, by whom, in a chain that shows every change made to it later."""

from chatwright.serve.audit.chain import Line, line_hash
from chatwright.serve.audit.log import Audit
from chatwright.serve.audit.verify import Broken, Verified, verify

__all__ = ["Audit", "Broken", "Line", "Verified", "line_hash", "verify"]
