"""The library that draws a page's charts, as one script without network access."""

from __future__ import annotations

import re
from importlib.metadata import version

from tunebench.errors import StoreError
from tunebench.files import default_cache_dir, read_regular, write_text

#: Marks a script that was written whole.
_END = "\n/* end of the chart library */\n"


def script() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script without network access.

    It comes from vl-convert-python; assembling it takes seconds, so it is kept in the cache by version.
    """
    cached = default_cache_dir() / f"vega-{version('vl-convert-python')}.js"
    try:
        found = read_regular(cached, limit=2**26).decode("utf-8")
        if found.endswith(_END):
            return found
    except (OSError, StoreError, UnicodeDecodeError):
        pass
    import vl_convert

    # Assignments are all of the library that the page sees; a script element must not be closed inside.
    bundle = vl_convert.javascript_bundle("window.tunebenchEmbed = vegaEmbed;")
    made = re.sub(r"</(?=script)", r"<\\/", bundle, flags=re.IGNORECASE).replace("<!--", r"<\!--") + _END
    try:
        write_text(cached, made)
    except OSError:
        pass  # a cache that cannot be written costs seconds, nothing else
    return made
