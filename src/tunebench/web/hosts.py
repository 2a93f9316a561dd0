"""The host names under which a local server answers."""

from __future__ import annotations

import ipaddress


def own_names(host: str) -> list[str] | None:
    """Return the host names that requests to a server may have, without ports; None where any will do.

    On loopback only those of this machine itself: a web page elsewhere could otherwise have its own name
    resolve to this machine, and read through a browser here what the server answers.

    Args:
        host: What the server listens at.
    """
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host.lower() == "localhost"
    return list(dict.fromkeys(("localhost", "127.0.0.1", "[::1]", host))) if loopback else None
