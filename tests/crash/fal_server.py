"""The server under test with fal as its upstream: as `server.py`, only that it looks at fal many times a second."""

import server
from calotype.providers.base import PollSchedule
from calotype.providers.fal import Fal

Fal.schedule = PollSchedule(first_s=0.05, factor=1.2, max_s=0.3)

if __name__ == "__main__":
    server.nursery()
