"""A local web page that shows a study's folder, running or not. It only reads.

:mod:`~tunebench.web.watching.study` knows the state of all runs, :mod:`~tunebench.web.watching.run` the curves and
the log of one, :mod:`~tunebench.web.watching.app` answers the page, :mod:`~tunebench.web.watching.server` listens.
"""
