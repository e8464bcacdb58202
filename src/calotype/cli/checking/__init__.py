"""What `calotype models check` does: every card looked at, and every route of it run at an emulated upstream."""
