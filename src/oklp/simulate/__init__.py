"""`oklp simulate`: a seeded population plays whole matches against a real server, and all money is accounted for.

command.py     what the command line calls: options in, status out
run.py         the order of things
plan.py        seed → scripts; pure
script.py      what a match is written in: games, steps
model.py       what must be answered to each step, and where the money is in the end; pure
money.py       who gets what of a pot, from the contract
play.py        one match, line by line, beside the model
players.py     who plays, and who follows their events
games.py       the games' own server, and their calls
accounts.py    what all matches add up to, and the audit
weather.py     faults of the sandbox that must change nothing
wire.py        requests: repeated, measured, held while the server is away
server.py      the server as a process
report.py      a table, JSON, how to play a match again
"""
