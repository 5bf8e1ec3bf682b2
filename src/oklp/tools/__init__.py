"""Tools for the developers of games: log-in as a studio, webhooks to one's own machine, test events, the log.

Black boxes over the studio API (contract section B4): what they do, a studio's own program could do.
"""
