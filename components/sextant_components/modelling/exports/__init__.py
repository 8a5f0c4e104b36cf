"""Exports: the same model for a browser, as a Python package, and for small devices, each with a proof of parity.

An export is not served by Sextant and not gated again: it holds the bundle's digest, and `parity.json` beside it says
how far its answers to the bundle's golden requests are from those that were sealed.
"""
