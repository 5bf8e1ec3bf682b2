"""Tile Rush: a score-attack puzzle in the browser, as a game server on `oklp.sdk`."""
