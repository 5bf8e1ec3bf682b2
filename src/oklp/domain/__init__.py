"""The rules, as pure functions: no clock, no randomness, no SQL, no I/O.

Imports the standard library and `oklp.errors` alone.
"""
