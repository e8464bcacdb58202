"""Where pictures, videos and sounds come from."""
