"""Sum Sprint: a game server on the OKLP SDK."""
