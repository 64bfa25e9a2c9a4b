"""The HTTP face: intake, control API, live streams and the page."""
