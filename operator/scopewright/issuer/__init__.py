"""The token issuer: request → authenticate → authorise → sign, each step returning a narrower type.

No token costs I/O: records are followed, and everything is answered from memory.
"""

from scopewright.issuer.service import Issuer
from scopewright.issuer.serving.server import run, serve_issuer
from scopewright.issuer.serving.workers import Worker, run_workers

__all__ = ["Issuer", "Worker", "run", "run_workers", "serve_issuer"]
