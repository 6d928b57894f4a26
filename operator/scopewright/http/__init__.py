"""An HTTP/1.1 server (RFC 9110, RFC 9112) for answers made from memory, with limits on connections."""

from scopewright.http.budget import ConnectionState, network_of
from scopewright.http.limits import BACKLOG, PROBES, HttpLimits
from scopewright.http.messages import Answer, Handler, Headers, HttpRequest, Refuse
from scopewright.http.server import ConnectionUsage, HttpServer
from scopewright.http.tls import Certificate

__all__ = [
    "BACKLOG",
    "PROBES",
    "Answer",
    "Certificate",
    "ConnectionState",
    "ConnectionUsage",
    "Handler",
    "Headers",
    "HttpLimits",
    "HttpRequest",
    "HttpServer",
    "Refuse",
    "network_of",
]
