"""Accept, run, settle: the only package that moves a job from state to state."""
