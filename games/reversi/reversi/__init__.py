"""Reversi: a duel with clocks over WebSocket, as a game server on `oklp.sdk`."""
