"""Produced and uploaded files: stored durably, known by their own bytes, served by signed URLs, swept by policy."""
