"""The operator's own workers: who they are, how they fare, what runs on them, and how one talks with each kind."""
