"""A local web page over a study's folder, running or not; it only ever reads.

:mod:`~tunebench.watching.study` knows the state of all runs, :mod:`~tunebench.watching.run` the curves and the
log of one, :mod:`~tunebench.watching.app` answers the page, :mod:`~tunebench.watching.server` listens.
"""
