"""`oklp check`: does a game keep the wire contract? A black box, over HTTP.

command.py     what the command line calls: options in, status out
report.py      what a check leaves behind: models of the report
catalogue.py   every check: id, title, reason, section, fix
platform.py    the throw-away platform, and the people on it
proxy.py       between platform and game: everything is written down, faults are made
wire.py        the checker's own issuer and records of what was sent
run.py         the order of things
probes.py      webhooks that are to be refused
launch.py      the launch page, as a browser meets it
grade.py       from results and tokens to verdicts
studio.py      the studio's server, and players that are commands
reference.py   the built-in game
output.py      table, JSON, JUnit XML, HTML
"""
