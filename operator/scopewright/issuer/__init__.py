"""The token issuer: request → authenticate → authorise → sign, each step returning a narrower type.

No token costs I/O: records are followed, and everything is answered from memory.
"""

from scopewright.issuer.app import App
from scopewright.issuer.server import run, serve, serve_issuer
from scopewright.issuer.service import Issuer

__all__ = ["App", "Issuer", "run", "serve", "serve_issuer"]
