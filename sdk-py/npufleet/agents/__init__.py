"""Agents: programs that react to NATS subjects with operations, and that ask each other for things by name.

agent     `Agent`: what it reacts to and what it can be asked for, from its start to its drain
endpoint  one subject that it listens to: handled, answered, counted
event     what a handler gets, and what becomes of what it returns
invoke    asking an agent by its name
values    what agents say to each other: arrays and JSON in one frame
"""

from npufleet.agents.agent import Agent
from npufleet.agents.event import Event
from npufleet.agents.invoke import invoke

__all__ = ["Agent", "Event", "invoke"]
