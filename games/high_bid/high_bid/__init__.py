"""High Bid: a card duel for two, as a game server on `oklp.sdk`."""
