"""The skill: what an agent needs to use this server's services, as one ZIP archive made of the table of services."""

from calotype.skill.export import files, packed

__all__ = ["files", "packed"]
