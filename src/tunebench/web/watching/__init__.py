"""A local web page over a study's folder, running or not; it only ever reads.

:mod:`~tunebench.web.watching.study` knows the state of all runs, :mod:`~tunebench.web.watching.run` the curves and
the log of one, :mod:`~tunebench.web.watching.app` answers the page, :mod:`~tunebench.web.watching.server` listens.
"""
