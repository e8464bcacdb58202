"""Calotype: one self-hosted API in front of every generative-media model."""

__version__ = "0.1.0"
