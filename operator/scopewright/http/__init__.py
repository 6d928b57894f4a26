"""An HTTP/1.1 server (RFC 9110, RFC 9112) for answers that are made from memory, and that bounds whatever comes in."""

from scopewright.http.limits import Limits
from scopewright.http.messages import Answer, Handler, Headers, HttpRequest, Refuse
from scopewright.http.server import Server
from scopewright.http.tls import Certificate

__all__ = ["Answer", "Certificate", "Handler", "Headers", "HttpRequest", "Limits", "Refuse", "Server"]
