"""The token issuer: request → authenticate → authorise → sign, each step returning a narrower type.

No token needs I/O: records are followed, and requests are answered from memory.
"""

from scopewright.issuer.build import IssuerSettings, build_issuer
from scopewright.issuer.service import Issuer
from scopewright.issuer.serving.server import run, serve_issuer

__all__ = ["Issuer", "IssuerSettings", "build_issuer", "run", "serve_issuer"]
