"""The operator console: the static page, the tables it shows and the window on the gateways."""
