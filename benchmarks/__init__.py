"""The benchmark: what one core of the gateway does, next to its upstream, nginx and two other gateways."""
