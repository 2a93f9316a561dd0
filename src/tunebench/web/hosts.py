"""Who may ask a server of ours: under which host names, and with which token."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tunebench.errors import ConfigError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

#: What a browser is answered so that it asks for the token; a user name is not looked at.
CHALLENGE = 'Basic realm="tunebench", charset="UTF-8"'


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches a server that listens at an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def host_names(host: str, allowed: Sequence[str] = ()) -> list[str] | None:
    """Return the host names that requests to a server may have, without ports; None where any will do.

    On loopback only those of this machine itself: a web page elsewhere could otherwise have its own name
    resolve to this machine, and read through a browser here what the server answers.

    Args:
        host: What the server listens at.
        allowed: Names that are allowed as well; on another address, the only ones beside this machine's own.
    """
    if not is_loopback(host) and not allowed:
        return None
    return list(dict.fromkeys(("localhost", "127.0.0.1", "[::1]", host.lower(), *(n.lower() for n in allowed))))


def exposure(host: str, token: str | None) -> str | None:
    """Return what must be said of a server that others can reach; None on loopback."""
    if is_loopback(host):
        return None
    if token is None:
        return (
            f"warning: {host} is reached by other machines, and everyone who reaches it is answered. "
            "--token TOKEN asks for a password, --host 127.0.0.1 keeps others out."
        )
    return (
        f"warning: {host} is reached by other machines. Requests need the token, but are not encrypted: put a "
        "proxy with TLS in front of it, or use it in a network that you trust."
    )


def check_token(token: str | None) -> None:
    """Refuse a token that protects nothing, or that no header can carry.

    Raises:
        ConfigError: It is empty, or has other characters than visible ASCII.
    """
    if token is not None and (not token or not all("!" <= character <= "~" for character in token)):
        raise ConfigError(
            "This is no token.",
            value="" if not token else "(not shown)",
            allowed="at least one letter, digit or other visible ASCII character, and no space",
            fix="choose another --token; python -c 'import secrets; print(secrets.token_urlsafe())' prints one",
        )


def has_token(scope: Scope, token: str | None) -> bool:
    """Tell whether a request has the token, as ``Authorization: Bearer`` or as the password of ``Basic``.

    The time this takes does not tell how much of it is right.
    """
    if token is None:
        return True
    given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
    kind, _, rest = given.partition(b" ")
    if kind.lower() == b"basic":
        try:
            _, _, rest = base64.b64decode(rest.strip(), validate=True).partition(b":")
        except (binascii.Error, ValueError):
            return False
    elif kind.lower() != b"bearer":
        return False
    return hmac.compare_digest(hashlib.sha256(rest.strip()).digest(), hashlib.sha256(token.encode()).digest())


class TokenCheck:
    """ASGI middleware that answers 401 to requests without the token."""

    def __init__(self, app: ASGIApp, *, token: str | None) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        if scope["type"] != "http" or has_token(scope, self._token):
            await self._app(scope, receive, send)
            return
        from starlette.responses import PlainTextResponse

        answer = PlainTextResponse("a token is needed", 401, headers={"WWW-Authenticate": CHALLENGE})
        await answer(scope, receive, send)
